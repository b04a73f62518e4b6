//! The file of API keys: one key per line, `NAME sha256:HASH`, followed by the options of that key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::api_key::KeyHash;

/// Maximum number of keys in a file.
const MAX_KEYS: usize = 10_000;
/// Names that have another meaning in metrics.
const RESERVED: [&str; 2] = ["jwt", "none"];

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLine {
    /// Number of the line, from 1.
    pub line: usize,
    /// Name of the caller. Two keys with one name belong to the same caller, so that a key can be replaced without a gap.
    pub name: String,
    /// Hash of the key.
    pub hash: KeyHash,
    /// When the key expires, Unix seconds.
    pub expires: Option<u64>,
    /// Limits and models of the caller.
    pub options: KeyOptions,
}

/// Limits and models of a caller, where its line overrides the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyOptions {
    /// Requests per second; 0 for no limit.
    pub rate: Option<u32>,
    /// Requests in a burst; 0 for one second's worth.
    pub burst: Option<u32>,
    /// Rows per day; 0 for no limit.
    pub daily_rows: Option<u64>,
    /// Models that the caller may use; `None` for all.
    pub models: Option<Vec<String>>,
    /// Whether the caller may load and unload models, where requests can.
    pub admin: bool,
}

/// Parses a whole file. Empty lines and lines that start with `#` are ignored. The last line must end as well: without its
/// end a line may lack options, and a key without `expires=`, `models=` or a limit has more rights, not fewer. A file of no
/// bytes is refused, because a file that is being rewritten looks like that for a moment, and it would revoke every key.
///
/// # Errors
/// What is wrong, with the line number but without the content of the line, which might be a key.
pub fn parse(text: &str) -> Result<Vec<KeyLine>, String> {
    if text.is_empty() {
        return Err(
            "is empty, so it may be being rewritten; a line `# no keys` makes it a file without keys".to_owned()
        );
    }
    if !text.ends_with('\n') {
        let line = text.lines().count();
        return Err(format!("line {line}: has no newline at its end, so the file may be cut short"));
    }
    let mut keys: Vec<KeyLine> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = parse_line(index + 1, line).map_err(|why| format!("line {}: {why}", index + 1))?;
        if keys.len() == MAX_KEYS {
            return Err(format!("line {}: more than {MAX_KEYS} keys", key.line));
        }
        keys.push(key);
    }
    check(&keys)?;
    Ok(keys)
}

/// Checks that no key appears twice and that all lines of a caller have the same options.
fn check(keys: &[KeyLine]) -> Result<(), String> {
    let mut by_hash: Vec<_> = keys.iter().collect();
    by_hash.sort_by_key(|key| key.hash);
    if let Some([one, other]) = by_hash.array_windows().find(|[one, other]| one.hash == other.hash) {
        return Err(format!("lines {} and {}: the same key twice", one.line, other.line));
    }
    let mut by_name: Vec<_> = keys.iter().collect();
    by_name.sort_by(|one, other| one.name.cmp(&other.name));
    let differ = |[one, other]: &&[&KeyLine; 2]| one.name == other.name && one.options != other.options;
    match by_name.array_windows().find(differ) {
        Some([one, other]) => Err(format!(
            "lines {} and {}: two keys of {} with different rate, burst, daily_rows, models or admin",
            one.line, other.line, one.name
        )),
        None => Ok(()),
    }
}

fn parse_line(line: usize, text: &str) -> Result<KeyLine, String> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    check_name(name)?;
    let hash = words.next().and_then(KeyHash::parse);
    let hash = hash.ok_or("expected sha256: and 64 hexadecimal digits after the name")?;
    let (mut expires, mut options) = (None, KeyOptions::default());
    for (position, word) in words.enumerate() {
        let Some((key, value)) = word.split_once('=') else {
            return Err(format!("word {}: expected key=value", position + 3));
        };
        let number = || value.parse().map_err(|_| format!("{key}: expected a whole number"));
        let small = |number: u64| u32::try_from(number).map_err(|_| format!("{key}: too large"));
        match key {
            "expires" => expires = Some(time(value)?),
            "rate" => options.rate = Some(small(number()?)?),
            "burst" => options.burst = Some(small(number()?)?),
            "daily_rows" => options.daily_rows = Some(number()?),
            "models" => {
                let mut models: Vec<_> =
                    value.split(',').filter(|model| !model.is_empty()).map(str::to_owned).collect();
                models.sort();
                options.models = Some(models);
            }
            "admin" => {
                options.admin = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err("admin: expected true or false".to_owned()),
                }
            }
            _ => {
                let expected = "expected expires=, rate=, burst=, daily_rows=, models= or admin=";
                return Err(format!("word {}: {expected}", position + 3));
            }
        }
    }
    Ok(KeyLine { line, name: name.to_owned(), hash, expires, options })
}

/// Names become labels of metrics and appear in logs.
fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    if !(1..=64).contains(&name.len()) || !name.bytes().all(legal) || super::ApiKey::has_prefix(name) {
        return Err("expected a name of 1 to 64 letters, digits, dots, dashes and underscores at the start".to_owned());
    }
    if RESERVED.contains(&name) {
        return Err(format!("the name {name} is reserved for metrics"));
    }
    Ok(())
}

/// Parses a date or time (`2027-01-31`, `2027-01-31T12:00:00Z`) to Unix seconds.
///
/// # Errors
/// If the text is neither.
pub fn time(text: &str) -> Result<u64, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let when = humantime::parse_rfc3339_weak(&whole)
        .map_err(|_| "expires: expected a date such as 2027-01-31 or 2027-01-31T12:00:00Z (UTC)".to_owned())?;
    Ok(when.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

impl KeyLine {
    /// A line for a new key, without options.
    ///
    /// # Errors
    /// If the name is invalid.
    pub fn new(name: &str, hash: KeyHash, expires: Option<u64>) -> Result<Self, String> {
        check_name(name)?;
        Ok(Self { line: 0, name: name.to_owned(), hash, expires, options: KeyOptions::default() })
    }

    /// When the key expires, as text.
    pub fn expiry(&self) -> Option<String> {
        let when = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires?))?;
        Some(humantime::format_rfc3339_seconds(when).to_string())
    }
}

impl std::fmt::Display for KeyLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.hash)?;
        if let Some(expiry) = self.expiry() {
            write!(f, " expires={expiry}")?;
        }
        let options = &self.options;
        let numbers = [
            ("rate", options.rate.map(u64::from)),
            ("burst", options.burst.map(u64::from)),
            ("daily_rows", options.daily_rows),
        ];
        for (key, number) in numbers {
            if let Some(number) = number {
                write!(f, " {key}={number}")?;
            }
        }
        if options.admin {
            f.write_str(" admin=true")?;
        }
        options.models.as_ref().map_or(Ok(()), |models| write!(f, " models={}", models.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, key: &str, more: &str) -> String {
        format!("{name} {} {more}", KeyHash::of(key))
    }

    #[test]
    fn lines_round_trip() {
        let text = format!(
            "# callers\n\n  {}\n{}\n",
            line("reports", "a", "expires=2027-01-31 rate=5 burst=10 daily_rows=1000 models=b,a admin=true"),
            line("app-1.x_y", "b", "expires=2027-01-31T12:00:00Z")
        );
        let keys = parse(&text).unwrap();
        assert_eq!((keys[0].line, keys[0].name.as_str(), keys[0].expires), (3, "reports", Some(1_801_353_600)));
        let models = Some(vec!["a".to_owned(), "b".to_owned()]);
        let (rate, burst, daily_rows) = (Some(5), Some(10), Some(1000));
        assert_eq!(keys[0].options, KeyOptions { rate, burst, daily_rows, models, admin: true });
        assert!(!keys[1].options.admin);
        assert_eq!(keys[1].expiry().as_deref(), Some("2027-01-31T12:00:00Z"));
        let again: Vec<_> = keys.iter().map(|key| parse(&format!("{key}\n")).unwrap().remove(0)).collect();
        assert!(keys.iter().zip(&again).all(|(one, other)| (one.hash, &one.options) == (other.hash, &other.options)));
    }

    #[test]
    fn a_file_that_is_cut_short_is_refused_wherever_it_is_cut() {
        let whole = line("a", "k", "expires=2027-01-31 rate=1") + "\n" + &line("b", "l", "models=m") + "\n";
        let first = whole.find('\n').unwrap() + 1;
        for end in 0..whole.len() {
            // what ends with a whole line has lost keys, not limits
            assert_eq!(parse(&whole[..end]).is_ok(), end == first, "{}", &whole[..end]);
        }
        assert!(parse(&whole[..whole.len() - 1]).unwrap_err().contains("line 2: has no newline"));
    }

    #[test]
    fn errors_do_not_quote_the_line() {
        let secret = "fby_0123456789012345678901234567890123456789012";
        for (text, part) in [
            ("bob".to_owned(), "line 1: expected sha256:"),
            (format!("bob {secret}"), "line 1: expected sha256:"),
            (secret.to_owned(), "line 1: expected a name"),
            (format!("{secret} bob"), "line 1: expected a name"),
            (line("bob", "a", secret), "word 3: expected key=value"),
            (line("bob", "a", &format!("{secret}=1")), "word 3: expected expires="),
            (line("bob", "a", "expires=soon"), "expires: expected a date"),
            (line("bob", "a", "admin=yes"), "admin: expected true or false"),
            (format!("{}\n{}", line("a", "k", "admin=true"), line("a", "l", "")), "two keys of a with different"),
            (line("bob", "a", "rate=-1"), "rate: expected a whole number"),
            (line("bob", "a", "rate=99999999999"), "rate: too large"),
            (line("jwt", "a", ""), "is reserved for metrics"),
            (format!("{}\n{}", line("a", "k", ""), line("b", "k", "")), "lines 1 and 2: the same key twice"),
            (format!("{}\n{}", line("a", "k", "rate=1"), line("a", "l", "rate=2")), "two keys of a with different"),
        ] {
            let error = parse(&format!("{text}\n")).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("012345"), "{error}");
        }
        assert_eq!(parse("# none\n").unwrap(), []);
    }
}
