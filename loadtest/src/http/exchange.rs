//! What a response means for the request it answers.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::wire::Response;
use crate::error::LoadtestError;
use crate::received_result::{ReceivedResult, ResultStatus};
use crate::request_generator::RequestGenerator;
use crate::run::ResultOwner;

/// A response, compared with the request it came for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Classified {
    /// It answers the request.
    Answer(ResultStatus),
    /// It answers another request.
    Foreign,
}

/// Classifies the response to request `index`; `body` is its body.
pub(crate) fn classify(requests: &RequestGenerator, index: u64, response: Response, body: &[u8]) -> Classified {
    let Ok(answer) = ReceivedResult::parse(body) else {
        return Classified::Answer(ResultStatus::Failed(format!("http_{}", response.status)));
    };
    if let Some(id) = answer.request_id.as_deref()
        && requests.run().owner(id) != ResultOwner::Ours(index)
    {
        return Classified::Foreign;
    }
    match answer.status(requests.batch()) {
        ResultStatus::Predicted { .. } if response.status != 200 => {
            Classified::Answer(ResultStatus::Failed(format!("http_{}", response.status)))
        }
        ResultStatus::Failed(_) if answer.error.is_none() && response.status != 200 => {
            Classified::Answer(ResultStatus::Failed(format!("http_{}", response.status)))
        }
        status => Classified::Answer(status),
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
    use crate::request_generator::RequestOptions;
    use crate::run::RunId;
    use crate::workload_rows::WorkloadRows;

    #[test]
    fn wrong_callers_and_bad_statuses_are_seen() {
        let run = RunId::parse("ab12cd34").unwrap();
        let requests = RequestGenerator::new(WorkloadRows::scaled().unwrap(), run, &RequestOptions::default()).unwrap();
        let classified = |status, body: &str| {
            classify(&requests, 7, Response { status, body: 0, end: 0, close: false }, body.as_bytes())
        };
        let failed = |code: &str| Classified::Answer(ResultStatus::Failed(code.into()));
        assert_eq!(
            classified(200, r#"{"request_id":"ab12cd34-7","prediction":1}"#),
            Classified::Answer(ResultStatus::Predicted { cached: false })
        );
        assert_eq!(classified(200, r#"{"request_id":"ab12cd34-8","prediction":1}"#), Classified::Foreign);
        assert_eq!(classified(429, r#"{"error":{"code":"overloaded","message":""}}"#), failed("overloaded"));
        assert_eq!(classified(502, "<html>"), failed("http_502"));
        assert_eq!(classified(404, "{}"), failed("http_404"));
    }
}
