//! Which traces are recorded. Decided once, where a request enters; all later stages read one bit.

use opentelemetry_sdk::trace::Sampler as SdkSampler;

use super::TelemetryError;
use super::TraceContext;
use super::environment::{OtelEnvironment, wrong};

/// Whether the caller's decision is followed, and the share of traces that is sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    parent_based: bool,
    ratio: f64,
}

impl Sampler {
    pub(super) fn never() -> Self {
        Self { parent_based: true, ratio: 0.0 }
    }

    /// `OTEL_TRACES_SAMPLER` and its argument, else parent-based with `ratio`.
    pub(super) fn of(environment: &OtelEnvironment, ratio: f64) -> Result<Self, TelemetryError> {
        let Some(name) = environment.get("OTEL_TRACES_SAMPLER") else {
            return Ok(Self { parent_based: true, ratio });
        };
        let (parent_based, kind) = match name.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, name),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => share(environment)?,
            _ => {
                let text =
                    format!("is {name:?}, expected always_on, always_off or traceidratio, alone or after parentbased_");
                return Err(wrong("OTEL_TRACES_SAMPLER", &text));
            }
        };
        Ok(Self { parent_based, ratio })
    }

    /// The context of a new request: its caller's, or a new trace. A caller that wants its trace sampled gets that while
    /// `may_follow`; above that it is sampled like a new trace.
    pub(super) fn decide(&self, remote: Option<TraceContext>, may_follow: impl FnOnce() -> bool) -> TraceContext {
        match remote {
            Some(parent) if self.parent_based && (!parent.sampled() || may_follow()) => parent,
            Some(parent) => parent.with_sampled(self.takes(&parent.trace_id)),
            None => {
                let root = TraceContext::root(false);
                root.with_sampled(self.takes(&root.trace_id))
            }
        }
    }

    /// The same arithmetic as the SDK's sampler, so that other services with the same ratio sample the same traces.
    fn takes(&self, trace_id: &[u8; 16]) -> bool {
        if self.ratio >= 1.0 {
            return true;
        }
        let [.., a, b, c, d, e, f, g, h] = *trace_id;
        let low = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
        low < (self.ratio.max(0.0) * (1u64 << 63) as f64) as u64
    }

    pub(super) fn for_sdk(self) -> SdkSampler {
        let root = SdkSampler::TraceIdRatioBased(self.ratio);
        if self.parent_based { SdkSampler::ParentBased(Box::new(root)) } else { root }
    }
}

fn share(environment: &OtelEnvironment) -> Result<f64, TelemetryError> {
    let Some(text) = environment.get("OTEL_TRACES_SAMPLER_ARG") else { return Ok(1.0) };
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(wrong("OTEL_TRACES_SAMPLER_ARG", &format!("is {text:?}, expected a number from 0 to 1"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: &str, arg: &str) -> Result<Sampler, TelemetryError> {
        let pairs = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)];
        Sampler::of(&OtelEnvironment::of(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))), 0.5)
    }

    #[test]
    fn the_environment_overrides_the_setting() {
        assert_eq!(sampler("", "").unwrap(), Sampler { parent_based: true, ratio: 0.5 });
        assert_eq!(sampler("always_off", "").unwrap(), Sampler { parent_based: false, ratio: 0.0 });
        assert_eq!(sampler("parentbased_traceidratio", "0.25").unwrap(), Sampler { parent_based: true, ratio: 0.25 });
        assert!(sampler("jaeger_remote", "").is_err());
        assert!(sampler("traceidratio", "2").is_err());
    }

    #[test]
    fn a_parent_decides_if_the_sampler_is_parent_based() {
        let yes = TraceContext::root(true).child();
        let no = TraceContext::root(false).child();
        let parent_based = Sampler { parent_based: true, ratio: 0.0 };
        assert_eq!(parent_based.decide(Some(yes), || true), yes);
        assert_eq!(parent_based.decide(Some(no), || false), no);
        let above = parent_based.decide(Some(yes), || false);
        assert!(!above.sampled() && above.trace_id == yes.trace_id && above.span_id == yes.span_id);
        assert!(!parent_based.decide(None, || false).sampled());
        let always = Sampler { parent_based: false, ratio: 1.0 };
        let decided = always.decide(Some(no), || false);
        assert!(decided.sampled() && decided.trace_id == no.trace_id && decided.span_id == no.span_id);
    }

    #[test]
    fn a_ratio_samples_about_that_share() {
        let sampler = Sampler { parent_based: true, ratio: 0.25 };
        let taken = (0..20_000).filter(|_| sampler.decide(None, || false).sampled()).count();
        assert!((4_500..5_500).contains(&taken), "{taken}");
    }
}
