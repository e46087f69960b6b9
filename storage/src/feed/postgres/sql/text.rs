//! What Postgres does not take, put right before it is sent.

use std::borrow::Cow;

/// JSON without the NUL characters in its strings, and how many there were. Postgres has no place for them.
///
/// Goes by the text, so that everything else stays as it is, to the last digit of a number.
pub(super) fn without_nul(json: &str) -> (Cow<'_, str>, usize) {
    const ESCAPE: &str = "\\u0000";
    if !json.contains(ESCAPE) {
        return (Cow::Borrowed(json), 0);
    }
    let mut kept = String::with_capacity(json.len());
    let mut rest = json;
    let mut times = 0;
    // A backslash stands only in strings, and whatever follows it belongs to it: `\\u0000` is no NUL.
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        kept.push_str(before);
        if let Some(behind) = escape.strip_prefix(ESCAPE) {
            times += 1;
            rest = behind;
        } else {
            let len = 1 + escape.chars().nth(1).map_or(0, char::len_utf8);
            let (whole, behind) = escape.split_at(len);
            kept.push_str(whole);
            rest = behind;
        }
    }
    kept.push_str(rest);
    (Cow::Owned(kept), times)
}

/// The JSON object with one more entry in front. `value` is JSON; `key` needs no escapes.
pub(super) fn with_entry(object: &str, key: &str, value: &str) -> String {
    let inner = object.trim().strip_prefix('{').unwrap_or("}").trim_start();
    let comma = if inner.starts_with('}') { "" } else { "," };
    format!(r#"{{"{key}":{value}{comma}{inner}"#)
}

/// The nearest time that a timestamp of Postgres holds: an author's clock can say anything.
pub(super) fn in_range(ms: i64) -> i64 {
    const YEAR_1: i64 = -62_135_596_800_000;
    const YEAR_9999_END: i64 = 253_402_300_799_999;
    ms.clamp(YEAR_1, YEAR_9999_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would let one NUL in one field stop the projection of a space, or damage text that only looks like one.
    #[test]
    fn only_real_nul_characters_go() {
        assert_eq!(without_nul(r#"{"a":1.10}"#), (Cow::Borrowed(r#"{"a":1.10}"#), 0));
        let (json, times) = without_nul(r#"{"a\u0000":"\u0000x\\u0000\u00e9\\\u0000","b":1e-7,"é":"\""}"#);
        assert_eq!(json, r#"{"a":"x\\u0000\u00e9\\","b":1e-7,"é":"\""}"#);
        assert_eq!(times, 3);
    }

    /// Would make JSON that Postgres refuses of the note about JSON that Postgres refuses.
    #[test]
    fn an_entry_goes_into_any_object() {
        assert_eq!(with_entry("{}", "/k", "[1]"), r#"{"/k":[1]}"#);
        assert_eq!(with_entry(" { } ", "/k", "1"), r#"{"/k":1}"#);
        assert_eq!(with_entry(r#"{"a":2}"#, "/k", "1"), r#"{"/k":1,"a":2}"#);
        assert_eq!(with_entry("", "/k", "1"), r#"{"/k":1}"#);
    }
}
