//! The records of a file, one at a time: JSON Lines, or one JSON array.
//!
//! Nothing is parsed here. A record is found by its line, or by the brackets and quotes around it, so that
//! one that is broken or too large does not hide those behind it, and no more than one is in memory.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

/// A longer record is refused before it is read whole.
pub(crate) const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1 up.
    pub(crate) line: u64,
    /// In an array, whose records can share a line: which of them it is, from 1 up.
    pub(crate) record: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "record {record}, line {}", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// A record as it is written, or why it cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) place: Place,
    pub(crate) text: Result<Vec<u8>, String>,
    /// How many bytes of the file are read so far.
    pub(crate) bytes_read: u64,
}

/// The records of a file.
pub(crate) struct Source {
    input: Box<dyn BufRead + Send>,
    layout: Layout,
    line: u64,
    bytes_read: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Unknown,
    Lines,
    /// How many records there were, and how the array stands.
    Array(u64, Array),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Array {
    Open,
    Closed,
}

/// How a record of an array ended.
enum End {
    Comma,
    Bracket,
    Eof,
}

impl Source {
    pub(crate) fn new(mut input: Box<dyn BufRead + Send>) -> io::Result<Source> {
        let mut head = Vec::new();
        input.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut head)?;
        if head == BYTE_ORDER_MARK {
            head.clear();
        }
        let input = Box::new(Cursor::new(head).chain(input));
        Ok(Source { input, layout: Layout::Unknown, line: 1, bytes_read: 0 })
    }

    /// The next record. `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Raw>> {
        if self.layout == Layout::Unknown {
            self.layout = match self.skip_blank()? {
                Some(b'[') => {
                    self.consume(1);
                    Layout::Array(0, Array::Open)
                }
                Some(_) => Layout::Lines,
                None => Layout::Done,
            };
        }
        match self.layout {
            Layout::Array(before, Array::Open) => self.element(before),
            Layout::Array(records, Array::Closed) => self.behind_the_array(records),
            Layout::Lines => self.line(),
            Layout::Unknown | Layout::Done => Ok(None),
        }
    }

    fn line(&mut self) -> io::Result<Option<Raw>> {
        if self.skip_blank()?.is_none() {
            self.layout = Layout::Done;
            return Ok(None);
        }
        let place = Place { line: self.line, record: None };
        let mut text = Vec::new();
        let mut len = 0;
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let is_last = end.is_some() || buffer.is_empty();
            keep(&mut text, &mut len, part);
            let taken = part.len();
            self.consume(taken);
            if is_last {
                return Ok(Some(self.raw(place, text, len)));
            }
        }
    }

    fn element(&mut self, before: u64) -> io::Result<Option<Raw>> {
        let first = self.skip_blank()?;
        let number = before + 1;
        let place = Place { line: self.line, record: Some(number) };
        if first == Some(b']') && before == 0 {
            self.consume(1);
            self.layout = Layout::Array(0, Array::Closed);
            return self.behind_the_array(0);
        }
        let (text, len, end) = self.until_the_record_ends()?;
        let mut raw = self.raw(place, text, len);
        self.layout = match end {
            End::Comma => Layout::Array(number, Array::Open),
            End::Bracket => Layout::Array(number, Array::Closed),
            End::Eof => {
                raw.text = Err("the array that the file begins with does not end".to_owned());
                Layout::Done
            }
        };
        if raw.text.as_ref().is_ok_and(|text| text.trim_ascii().is_empty()) {
            raw.text = Err("there is no record before this comma or bracket".to_owned());
        }
        Ok(Some(raw))
    }

    /// Reads up to the comma or bracket behind a record.
    fn until_the_record_ends(&mut self) -> io::Result<(Vec<u8>, usize, End)> {
        let (mut text, mut len) = (Vec::new(), 0);
        let (mut depth, mut is_in_string, mut is_escaped) = (0usize, false, false);
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok((text, len, End::Eof));
            }
            let mut end = None;
            let mut taken = buffer.len();
            for (at, byte) in buffer.iter().enumerate() {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' if is_in_string => is_escaped = true,
                    b'"' => is_in_string = !is_in_string,
                    _ if is_in_string => {}
                    b'[' | b'{' => depth += 1,
                    b',' if depth == 0 => end = Some(End::Comma),
                    b']' if depth == 0 => end = Some(End::Bracket),
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if end.is_some() {
                    taken = at;
                    break;
                }
            }
            keep(&mut text, &mut len, &buffer[..taken]);
            self.consume(taken);
            if let Some(end) = end {
                self.consume(1);
                return Ok((text, len, end));
            }
        }
    }

    fn behind_the_array(&mut self, records: u64) -> io::Result<Option<Raw>> {
        self.layout = Layout::Done;
        if self.skip_blank()?.is_none() {
            return Ok(None);
        }
        let place = Place { line: self.line, record: Some(records + 1) };
        let text = Err("there is more behind the array that the file begins with".to_owned());
        Ok(Some(Raw { place, text, bytes_read: self.bytes_read }))
    }

    /// Passes over what is between records. Returns the byte that comes next.
    fn skip_blank(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.input.fill_buf()?;
            let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let next = buffer.get(blank).copied();
            if buffer.is_empty() || next.is_some() {
                self.consume(blank);
                return Ok(next);
            }
            self.consume(blank);
        }
    }

    /// Takes bytes out of the buffer, which has as many.
    fn consume(&mut self, len: usize) {
        if let Ok(buffer) = self.input.fill_buf() {
            let lines = buffer.iter().take(len).filter(|byte| **byte == b'\n').count();
            self.line += lines as u64;
        }
        self.bytes_read += len as u64;
        self.input.consume(len);
    }

    fn raw(&self, place: Place, text: Vec<u8>, len: usize) -> Raw {
        let text = if len > RECORD_BYTES_MAX {
            Err(format!("the record is larger than {} MiB", RECORD_BYTES_MAX / 1024 / 1024))
        } else {
            Ok(text)
        };
        Raw { place, text, bytes_read: self.bytes_read }
    }
}

/// Keeps a part of a record, as long as the record is not too large.
fn keep(text: &mut Vec<u8>, len: &mut usize, part: &[u8]) {
    *len = len.saturating_add(part.len());
    if *len > RECORD_BYTES_MAX {
        *text = Vec::new();
    } else {
        text.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// The records of `text`, read through a buffer of `size` bytes.
    fn read(text: &[u8], size: usize) -> Vec<Raw> {
        let input = BufReader::with_capacity(size, Cursor::new(text.to_vec()));
        let mut source = Source::new(Box::new(input)).unwrap();
        std::iter::from_fn(|| source.next().unwrap()).collect()
    }

    /// The same as text with its place, whatever the buffer.
    fn records(text: &str) -> Vec<(String, Result<String, String>)> {
        let read = |size| {
            let raw = read(text.as_bytes(), size).into_iter();
            let text = |text: Vec<u8>| String::from_utf8(text).unwrap().trim().to_owned();
            raw.map(|raw| (raw.place.to_string(), raw.text.map(text))).collect::<Vec<_>>()
        };
        assert_eq!(read(1), read(4096), "{text}");
        read(3)
    }

    fn good(records: &[(&str, &str)]) -> Vec<(String, Result<String, String>)> {
        records.iter().map(|(place, text)| ((*place).to_owned(), Ok((*text).to_owned()))).collect()
    }

    #[test]
    fn lines_are_records_however_they_end() {
        // Would refuse the first line of a file from Windows, or lose the last line of one from an editor.
        let expected = good(&[("line 1", r#"{"a":1}"#), ("line 3", r#"{"b":2}"#)]);
        assert_eq!(records("{\"a\":1}\n\n{\"b\":2}"), expected);
        assert_eq!(records("\u{feff}{\"a\":1}\r\n\r\n{\"b\":2}\r\n"), expected);
        assert_eq!(records(""), []);
        assert_eq!(records("\u{feff}\n"), []);
    }

    #[test]
    fn an_array_is_its_elements_however_it_is_laid_out() {
        // Would split a record at a comma or bracket that is part of a string.
        let text = "\u{feff} [ {\"a\": \"],[{\\\"\"},\n  {\"b\": [1, {\"c\": []}]}\n]\n";
        let expected = good(&[
            ("record 1, line 1", r#"{"a": "],[{\""}"#),
            ("record 2, line 2", r#"{"b": [1, {"c": []}]}"#),
        ]);
        assert_eq!(records(text), expected);
        assert_eq!(records("[]"), []);
        assert_eq!(records("[\n]\n"), []);
        assert_eq!(records("[1,2]"), good(&[("record 1, line 1", "1"), ("record 2, line 1", "2")]));
    }

    #[test]
    fn a_broken_array_is_noticed_where_it_breaks() {
        // Would call half a download a whole import.
        for (text, last) in [
            (r#"[{"a":1}, {"b""#, "does not end"),
            (r#"[{"a":1}"#, "does not end"),
            (r#"[{"a":1},"#, "does not end"),
            (r#"[{"a":1},]"#, "no record"),
            (r#"[,{"a":1}]"#, "no record"),
            (r#"[{"a":1}] {"b":2}"#, "more behind"),
            (r#"["#, "does not end"),
        ] {
            let found = records(text);
            assert!(
                found.iter().any(|(_, text)| text.as_ref().is_err_and(|why| why.contains(last))),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn a_record_that_is_too_large_costs_only_itself() {
        // Would end an import at a picture that somebody put into a field, or fill the memory with it.
        let large = "x".repeat(RECORD_BYTES_MAX);
        for text in [format!("{{}}\n{large}x\n{{}}\n"), format!("[{{}},\"{large}\",{{}}]")] {
            let found = read(text.as_bytes(), 1 << 16);
            let is_good: Vec<bool> = found.iter().map(|raw| raw.text.is_ok()).collect();
            assert_eq!(is_good, [true, false, true]);
        }
    }
}
