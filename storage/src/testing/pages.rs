//! Contents of a disk that are cheap to copy: copies share every page that neither has written since.

use std::sync::Arc;

const PAGE: usize = 4096;

/// Bytes in pages. A page without contents is all zeros, and everything behind the end is too.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    len: usize,
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Pages {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut pages = Self::default();
        pages.write(0, bytes);
        pages
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        for (page, out) in self.pages.iter().zip(bytes.chunks_mut(PAGE)) {
            if let Some(page) = page {
                out.copy_from_slice(&page[..out.len()]);
            }
        }
        bytes
    }

    /// Fills `out` with the bytes from `start` on. `None` if the contents end before that.
    pub(super) fn read(&self, start: usize, out: &mut [u8]) -> Option<()> {
        if start.checked_add(out.len())? > self.len {
            return None;
        }
        let mut done = 0;
        while done < out.len() {
            let (page, from, len) = part(start + done, out.len() - done);
            let out = &mut out[done..done + len];
            match &self.pages[page] {
                Some(page) => out.copy_from_slice(&page[from..from + len]),
                None => out.fill(0),
            }
            done += len;
        }
        Some(())
    }

    /// Writes `data` at `start`, and makes the contents longer if they end before it does.
    pub(super) fn write(&mut self, start: usize, data: &[u8]) {
        if start + data.len() > self.len {
            self.set_len(start + data.len());
        }
        let mut done = 0;
        while done < data.len() {
            let (page, from, len) = part(start + done, data.len() - done);
            let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[from..from + len].copy_from_slice(&data[done..done + len]);
            done += len;
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.pages.resize(len.div_ceil(PAGE), None);
        if len < self.len
            && let Some(Some(last)) = self.pages.last_mut()
            && !len.is_multiple_of(PAGE)
        {
            Arc::make_mut(last)[len % PAGE..].fill(0);
        }
        self.len = len;
    }
}

/// The page that `start` is in, where in it, and how many of the next `len` bytes are in it too.
fn part(start: usize, len: usize) -> (usize, usize, usize) {
    let from = start % PAGE;
    (start / PAGE, from, len.min(PAGE - from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Dice;

    /// Would make the crash tests judge contents that no disk had.
    #[test]
    fn pages_hold_what_a_list_of_bytes_holds() {
        let mut dice = Dice::new(1);
        let (mut pages, mut bytes) = (Pages::default(), Vec::new());
        let mut copies = Vec::new();
        for number in 0..2_000_u32 {
            let at = dice.below(20_000) as usize;
            if dice.below(4) == 0 {
                pages.set_len(at);
                bytes.resize(at, 0);
            } else {
                let data = vec![number as u8; dice.below(9_000) as usize];
                pages.write(at, &data);
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[at..at + data.len()].copy_from_slice(&data);
            }
            let (from, mut part) = (dice.below(20_000) as usize, vec![1; dice.below(9_000) as usize]);
            let expected = bytes.get(from..from + part.len());
            assert_eq!(pages.read(from, &mut part).map(|()| part.as_slice()), expected);
            if number % 100 == 0 {
                copies.push((pages.clone(), bytes.clone()));
            }
        }
        for (pages, bytes) in copies.into_iter().chain([(pages, bytes)]) {
            assert_eq!((pages.len(), &pages.to_vec()), (bytes.len(), &bytes));
            assert_eq!(Pages::new(&bytes).to_vec(), bytes);
        }
    }
}
