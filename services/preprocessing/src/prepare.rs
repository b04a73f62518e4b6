//! Turns a batch of requests into features, and into problems for those that cannot be answered.

use std::ops::Range;

use bytes::Bytes;
use forebay_contract::{Features, Item, Problem, Request, SplitKey};

use crate::catalog::{CatalogSnapshot, ResolvedVersion};
use crate::row::CheckedRow;

/// Bytes of a cache key.
const KEY_LEN: usize = 32;

/// Validates, pins and prepares `items` in order. An item that can be answered is pushed to `ready`, any other is
/// passed to `refuse`, so that each item leaves exactly once. Models that are `unloaded` answer nothing.
pub fn prepare(
    snapshot: &CatalogSnapshot,
    unloaded: &dyn Fn(&str) -> bool,
    items: Vec<Item<Request>>,
    ready: &mut Vec<Item<Features>>,
    mut refuse: impl FnMut(Item<Request>, Problem),
) {
    let mut resolutions = Resolutions { snapshot, unloaded, known: Vec::new() };
    let mut keys = Vec::with_capacity(items.len() * KEY_LEN);
    let first = ready.len();
    ready.reserve(items.len());
    for mut item in items {
        match resolutions.of(&item).and_then(|resolved| features(resolved, &mut item.payload, &mut keys)) {
            Ok(features) => ready.push(item.with(features)),
            Err(problem) => refuse(item, problem),
        }
    }
    // one buffer holds the keys of the whole batch
    let keys = Bytes::from(keys);
    for (index, item) in ready.iter_mut().skip(first).enumerate() {
        let range: Range<usize> = index * KEY_LEN..(index + 1) * KEY_LEN;
        item.payload.key = keys.slice(range);
    }
}

/// The version of each distinct pair of model and requested version in the batch.
struct Resolutions<'c> {
    snapshot: &'c CatalogSnapshot,
    unloaded: &'c dyn Fn(&str) -> bool,
    known: Vec<KnownResolution>,
}

struct KnownResolution {
    model: String,
    requested: String,
    result: Result<ResolvedVersion, Problem>,
}

impl Resolutions<'_> {
    fn of(&mut self, item: &Item<Request>) -> Result<&ResolvedVersion, Problem> {
        let Request { model, version, .. } = &item.payload;
        let name = self.snapshot.named(model);
        if (self.unloaded)(name) {
            return Err(Problem::unloaded(name));
        }
        if version.trim().is_empty()
            && let Some(resolved) = self.snapshot.split(model, || split_key(item))
        {
            return Ok(resolved);
        }
        let known = self.known.iter().position(|known| known.model == *model && known.requested == *version);
        let index = known.unwrap_or_else(|| {
            let result = self.snapshot.resolve(model, version);
            self.known.push(KnownResolution { model: model.clone(), requested: version.clone(), result });
            self.known.len() - 1
        });
        self.known[index].result.as_ref().map_err(Clone::clone)
    }
}

/// The sticky-routing key: the client's key, else its request id, else a value that no other request has.
fn split_key(item: &Item<Request>) -> SplitKey {
    let key = SplitKey::from_wire(item.payload.split_key);
    let label = || item.context.client_request_id().map(SplitKey::of_text);
    key.or_else(label).unwrap_or_else(|| SplitKey::of_request(item.context.request_id()))
}

/// The features of a request without their cache key, which is appended to `keys`.
fn features(resolved: &ResolvedVersion, request: &mut Request, keys: &mut Vec<u8>) -> Result<Features, Problem> {
    let version = &resolved.version;
    let output = version.output(&request.output)?;
    version.check_params(&request.params)?;
    let (numbers, mixed) = (std::mem::take(&mut request.features), std::mem::take(&mut request.values));
    let (raw, values) = match version.shape.check_row(numbers, mixed, &request.names)? {
        CheckedRow::Numbers(raw) => (raw, Vec::new()),
        CheckedRow::Values(values) => (Vec::new(), values),
    };
    let prepared = if values.is_empty() { version.prepared(&raw)? } else { Vec::new() };
    let key = if values.is_empty() { version.keys.key(&raw) } else { version.keys.key_of_values(&values) };
    let key = if output.is_empty() { key } else { key.of_output(output) };
    let key = if request.cache_scope.is_empty() { key } else { key.of_scope(&request.cache_scope) };
    keys.extend_from_slice(&key.0);
    let model = std::mem::take(&mut request.model);
    Ok(Features {
        model: if model.is_empty() { version.model.clone() } else { model },
        version: version.version,
        label: resolved.label.clone(),
        fallback_from: resolved.fallback_from.clone(),
        raw,
        prepared,
        preprocessing: version.preprocessing_id.clone(),
        key: Bytes::new(),
        digest: version.digest.clone(),
        values,
        output: output.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::samples::{listed, model, policy};
    use forebay_contract::CacheKeyBuilder;
    use forebay_testkit::context;

    fn item(version: &str, features: &[f64], names: &[&str]) -> Item<Request> {
        let payload = Request {
            model: String::new(),
            version: version.into(),
            features: features.to_vec(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            ..Request::default()
        };
        Item { parent_span: 7, attempt: 2, ..context().item(payload) }
    }

    fn run(items: Vec<Item<Request>>) -> (Vec<Item<Features>>, Vec<String>) {
        split(items, None)
    }

    fn split(items: Vec<Item<Request>>, split: Option<&str>) -> (Vec<Item<Features>>, Vec<String>) {
        let versions = [(1, None, true), (2, None, true), (3, Some("Production"), true)];
        let snapshot =
            CatalogSnapshot::new(&policy("Production", split), [listed("Production", model("m", &versions))]);
        let (mut ready, mut refused) = (Vec::new(), Vec::new());
        let unloaded = |model: &str| model == "unloaded";
        prepare(&snapshot, &unloaded, items, &mut ready, |_, problem| refused.push(problem.to_string()));
        (ready, refused)
    }

    #[test]
    fn features_carry_all_that_later_stages_need() {
        let (ready, refused) = run(vec![item("v1", &[3.0, 1.0, 2.0], &["bmi", "age", "sex"])]);
        assert_eq!(refused, [""; 0]);
        let key = CacheKeyBuilder::new("m", 1, &[1; 32], "").key(&[1.0, 2.0, 3.0]);
        let expected = Features {
            model: "m".into(),
            version: 1,
            label: "v1".into(),
            fallback_from: String::new(),
            raw: vec![1.0, 2.0, 3.0],
            prepared: vec![],
            preprocessing: String::new(),
            key: Bytes::copy_from_slice(&key.0),
            digest: Bytes::from_static(&[1; 16]),
            ..Features::default()
        };
        assert_eq!(ready[0].payload, expected);
        assert_eq!((ready[0].parent_span, ready[0].attempt), (7, 2));
    }

    #[test]
    fn each_item_leaves_once_and_neighbours_are_unaffected() {
        let gap = [1.0, f64::NAN, 3.0];
        let (ready, refused) = run(vec![
            item("", &[1.0, 2.0, 3.0], &[]),
            item("", &[1.0], &[]),
            item("v2", &gap, &[]),
            item("v1", &gap, &[]),
            item("v9", &[1.0, 2.0, 3.0], &[]),
        ]);
        let pinned: Vec<_> = ready.iter().map(|it| (it.payload.version, it.payload.fallback_from.as_str())).collect();
        assert_eq!(pinned, [(3, ""), (2, ""), (3, "v9")]);
        assert_eq!(ready[0].payload.key, ready[2].payload.key, "the same question of the same version");
        assert_ne!(ready[0].payload.key, ready[1].payload.key);
        assert_eq!(
            refused,
            [
                "invalid_features: expected 3 features (age, sex, bmi), got 1",
                "invalid_features: feature sex is missing and cannot be filled in",
            ]
        );
    }

    #[test]
    fn requests_of_different_scopes_share_no_cached_answer() {
        let key = |scope: &'static [u8]| {
            let mut item = item("", &[1.0, 2.0, 3.0], &[]);
            item.payload.cache_scope = Bytes::from_static(scope);
            run(vec![item]).0[0].payload.key.clone()
        };
        assert_eq!((key(b""), key(b"ann")), (key(b""), key(b"ann")));
        assert_ne!(key(b""), key(b"ann"));
        assert_ne!(key(b"bob"), key(b"ann"));
    }

    #[test]
    fn a_model_that_is_unloaded_or_unknown_is_refused_by_name() {
        let mut unloaded = item("", &[1.0, 2.0, 3.0], &[]);
        unloaded.payload.model = "unloaded".into();
        assert_eq!(run(vec![unloaded]).1, ["unknown_model: Request for unknown model: 'unloaded' is unloaded"]);
        let mut absent = item("", &[1.0, 2.0, 3.0], &[]);
        absent.payload.model = "absent".into();
        assert_eq!(
            run(vec![absent]).1,
            ["unknown_model: unknown model \"absent\"; GET /v1/models lists what is served"]
        );
    }

    #[test]
    fn a_request_stays_with_its_version_by_key_then_label_then_not_at_all() {
        let labelled = |label: Option<&str>, key: Option<&str>| {
            let mut item = item("", &[1.0, 2.0, 3.0], &[]);
            item.payload.split_key = key.map_or(0, |key| SplitKey::of_text(key).to_wire());
            let context = label.map_or_else(context, |label| context().client_request_id(label)).build();
            Item { context, ..item }
        };
        let versions = |make: &dyn Fn(usize) -> Item<Request>| -> Vec<u32> {
            let (ready, refused) = split((0..200).map(make).collect(), Some("v1=50, v2=50"));
            assert_eq!(refused, [""; 0]);
            ready.iter().map(|item| item.payload.version).collect()
        };
        let ones = |versions: &[u32]| versions.iter().filter(|version| **version == 1).count();
        let keyed = versions(&|i| labelled(Some(&i.to_string()), Some("alice")));
        assert!(ones(&keyed) == 0 || ones(&keyed) == 200, "the key comes before the label");
        let by_label = versions(&|i| labelled(Some(&format!("r{i}")), None));
        assert_eq!(by_label, versions(&|i| labelled(Some(&format!("r{i}")), None)), "the same label, the same version");
        assert!((60..140).contains(&ones(&by_label)));
        assert!((60..140).contains(&ones(&versions(&|_| labelled(None, None)))));
        let requested = split(vec![item("v3", &[1.0, 2.0, 3.0], &[])], Some("v1=50, v2=50")).0;
        assert_eq!(requested[0].payload.version, 3);
    }
}
