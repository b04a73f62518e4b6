//! `forebay keys`: API keys for the HTTP API.

mod init;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use forebay_ingestion::auth::{ApiKey, KeyLine, parse_keys, parse_time};
use forebay_runtime::SettingsArgs;

use super::{eprint, open, print};

/// `forebay keys ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a file of keys with a first key, and a certificate: what an endpoint needs that other machines can reach
    #[command(after_help = init::AFTER_HELP)]
    Init(init::Init),
    /// Make a key: it is shown once, its line is for the file of keys
    #[command(after_help = NEW)]
    New {
        /// Whom it is for: letters, digits, dots, dashes and underscores. A second key of one name is the same caller
        name: String,
        /// When it ends: a date (2027-01-31), a moment (2027-01-31T12:00:00Z), or a time from now (90d)
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
        /// Append the line to this file and print the key alone
        #[arg(long, value_name = "FILE")]
        append: Option<PathBuf>,
    },
    /// Read the file of keys as ingestion does, and list the names in it; exit code 1 if anything is wrong
    #[command(after_help = CHECK)]
    Check {
        /// The file; without it the one of the settings (auth.keys_file)
        file: Option<PathBuf>,
        /// Tell whose the key is that stands on standard input
        #[arg(long)]
        stdin: bool,
    },
}

const NEW: &str = "Examples:
  forebay keys new reports --expires 90d
  forebay keys new reports --append keys.txt > reports.key     the key alone into a file of its own

The file holds only the SHA-256 of the key: a lost key cannot be shown again. Behind the line may stand
  rate=N burst=N       requests a second, and at once
  daily_rows=N         rows between midnights (UTC)
  models=A,B           the models it may ask
  admin=true           it may load and unload models (repository.writable)
To revoke a key, remove its line; ingestion reads the file again after a change (auth.refresh).";

const CHECK: &str = "Examples:
  forebay keys check keys.txt
  forebay keys check keys.txt --stdin < reports.key";

pub(crate) fn run(args: &SettingsArgs, action: &Keys) -> ExitCode {
    let done = match action {
        Keys::Init(files) => init::run(files).map(|text| print(&text)),
        Keys::New { name, expires, append } => {
            new(name, expires.as_deref(), append.as_deref()).map(|text| print(&text))
        }
        Keys::Check { file, stdin } => {
            let file = match file {
                Some(file) => file.clone(),
                None => match open(args) {
                    Ok(opened) => opened.settings.ingestion.auth.keys_file.into(),
                    Err(code) => return code,
                },
            };
            check(&file, *stdin).map(|text| print(&text))
        }
    };
    done.unwrap_or_else(|error| eprint(&error, 1))
}

fn new(name: &str, expires: Option<&str>, append: Option<&Path>) -> Result<String, String> {
    let key = ApiKey::generate()?;
    let expires = expires.map(|when| end(when, now_s())).transpose()?;
    let line = KeyLine::new(name, key.hash(), expires)?;
    let Some(path) = append else {
        return Ok(format!(
            "key   {}\nline  {line}\n\nThe key is not shown again. Append the line to the file of auth.keys_file.\n",
            key.expose()
        ));
    };
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let before = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(wrong(error)),
    };
    // a line that was cut short must not be completed, nor one that ingestion would refuse get into a file that is in use
    let check = |text: &str| parse_keys(text).map_err(|error| format!("{}: {error}", path.display()));
    if !before.is_empty() {
        check(&before)?;
    }
    check(&format!("{before}{line}\n"))?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(wrong)?;
    file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)?;
    Ok(format!("{}\n", key.expose()))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The moment that `when` means, in Unix seconds.
fn end(when: &str, now_s: u64) -> Result<u64, String> {
    let end = match humantime::parse_duration(when) {
        Ok(time) => now_s.saturating_add(time.as_secs()),
        Err(_) => parse_time(when).map_err(|error| format!("{error}, or a time from now such as 90d"))?,
    };
    if end > now_s { Ok(end) } else { Err(format!("expires: {when} is over")) }
}

fn check(path: &Path, stdin: bool) -> Result<String, String> {
    if path.as_os_str().is_empty() {
        return Err("there is no file of keys: name one, or set auth.keys_file".to_owned());
    }
    let wrong = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let keys = parse_keys(&text).map_err(wrong)?;
    let now = now_s();
    if stdin {
        return whose(&keys, now);
    }
    let mut shown = String::new();
    for key in &keys {
        // writing to a string cannot fail
        let _ = writeln!(shown, "{:24} line {:<4} {}", key.name, key.line, expiry(key, now));
    }
    let counting = keys.iter().filter(|key| key.expires.is_none_or(|end| end > now)).count();
    let _ = writeln!(shown, "{} keys, {counting} of them count", keys.len());
    Ok(shown)
}

fn expiry(key: &KeyLine, now_s: u64) -> String {
    match (key.expires, key.expiry()) {
        (Some(end), Some(expiry)) if end <= now_s => format!("expired {expiry}"),
        (Some(end), Some(expiry)) => {
            let days = Duration::from_secs(end - now_s).as_secs() / 86_400;
            format!("until {expiry} ({days} days)")
        }
        _ => "for ever".to_owned(),
    }
}

fn whose(keys: &[KeyLine], now_s: u64) -> Result<String, String> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    let hash = forebay_ingestion::auth::KeyHash::of(text.trim());
    match keys.iter().find(|key| key.hash == hash) {
        Some(key) => Ok(format!("{} (line {}), {}\n", key.name, key.line, expiry(key, now_s))),
        None => Err("the key on standard input is none of these".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_date_or_a_time_from_now() {
        assert_eq!(end("90d", 1_000), Ok(1_000 + 90 * 86_400));
        assert_eq!(end("2027-01-31", 0), Ok(1_801_353_600));
        assert!(end("2001-01-01", now_s()).unwrap_err().contains("is over"));
        assert!(end("soon", 0).unwrap_err().contains("90d"));
    }

    #[test]
    fn a_new_line_goes_to_the_end_of_a_file_and_never_breaks_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let one = new("a", None, Some(&path)).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, whole.trim_end()).unwrap();
        assert!(new("b", None, Some(&path)).unwrap_err().contains("cut short"));
        std::fs::write(&path, whole).unwrap();
        let two = new("b", Some("1d"), Some(&path)).unwrap();
        let keys = parse_keys(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        for (shown, line) in [(one, &keys[0]), (two, &keys[1])] {
            assert_eq!(forebay_ingestion::auth::KeyHash::of(shown.trim()), line.hash);
        }
        std::fs::write(&path, "broken").unwrap();
        assert!(new("c", None, Some(&path)).unwrap_err().contains("line 1"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "broken");
        assert!(new("no name", None, None).is_err());
        assert!(check(&path, false).unwrap_err().contains("line 1"));
    }
}
