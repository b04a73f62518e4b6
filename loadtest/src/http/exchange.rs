//! What a response means for the request it answers.
use super::wire::Response;
use crate::answer::{Answer, Verdict};
use crate::error::LoadtestError;
use crate::feed::Feed;
use crate::run::Owner;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// A response, weighed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Weighed {
    /// It answers the request.
    Answer(Verdict),
    /// It answers somebody else's.
    Strange,
}

/// Weighs the response to request `index`; `body` is its body.
pub(crate) fn weigh(feed: &Feed, index: u64, response: Response, body: &[u8]) -> Weighed {
    let Ok(answer) = Answer::parse(body) else {
        return Weighed::Answer(Verdict::Failed(format!("http_{}", response.status)));
    };
    if let Some(id) = answer.request_id.as_deref()
        && feed.run().owner(id) != Owner::Ours(index)
    {
        return Weighed::Strange;
    }
    match answer.verdict(feed.batch()) {
        Verdict::Predicted { .. } if response.status != 200 => {
            Weighed::Answer(Verdict::Failed(format!("http_{}", response.status)))
        }
        Verdict::Failed(_) if answer.error.is_none() && response.status != 200 => {
            Weighed::Answer(Verdict::Failed(format!("http_{}", response.status)))
        }
        verdict => Weighed::Answer(verdict),
    }
}

/// Keeps response bodies, one a line, for the judge.
#[derive(Debug)]
pub(crate) struct AnswerFile {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl AnswerFile {
    pub(crate) fn create(path: &Path) -> Result<Self, LoadtestError> {
        let file = File::create(path).map_err(LoadtestError::file(path))?;
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(BufWriter::new(file)) })
    }

    pub(crate) fn keep(&self, body: &[u8]) -> Result<(), LoadtestError> {
        let mut file = self.file.lock();
        file.write_all(body).and_then(|()| file.write_all(b"\n")).map_err(LoadtestError::file(&self.path))
    }

    pub(crate) fn flush(&self) -> Result<(), LoadtestError> {
        self.file.lock().flush().map_err(LoadtestError::file(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::FeedOptions;
    use crate::rows::Rows;
    use crate::run::RunId;

    #[test]
    fn wrong_callers_and_bad_statuses_are_seen() {
        let run = RunId::parse("ab12cd34").unwrap();
        let feed = Feed::new(Rows::scaled().unwrap(), run, &FeedOptions::default()).unwrap();
        let weighed =
            |status, body: &str| weigh(&feed, 7, Response { status, body: 0, end: 0, close: false }, body.as_bytes());
        let failed = |code: &str| Weighed::Answer(Verdict::Failed(code.into()));
        assert_eq!(
            weighed(200, r#"{"request_id":"ab12cd34-7","prediction":1}"#),
            Weighed::Answer(Verdict::Predicted { cached: false })
        );
        assert_eq!(weighed(200, r#"{"request_id":"ab12cd34-8","prediction":1}"#), Weighed::Strange);
        assert_eq!(weighed(429, r#"{"error":{"code":"overloaded","message":""}}"#), failed("overloaded"));
        assert_eq!(weighed(502, "<html>"), failed("http_502"));
        assert_eq!(weighed(404, "{}"), failed("http_404"));
    }
}
