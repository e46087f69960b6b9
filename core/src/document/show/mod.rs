//! What a document shows: the values that stand in it, in the order in which they are found.
//!
//! 1. [`place`]: what stands at one place, where several devices may have put something. [`counters`]: what they count to together.
//! 2. [`read`]: all values of a document; [`keys`]: the names of elements with keys. [`texts`]: those that are being typed into, without reading them.
//! 3. [`view`]: what readers see of an entity, and its row. [`projection`]: what SQL sees.

pub(crate) mod counters;
pub(crate) mod keys;
pub(crate) mod place;
pub(crate) mod projection;
pub(crate) mod read;
pub(crate) mod texts;
pub(crate) mod view;
