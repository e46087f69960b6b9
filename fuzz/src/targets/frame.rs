use headwater::wire::{Frame, Limits};

/// Any bytes as a frame. One that decodes is written again, and decodes to the same.
pub fn frame(data: &[u8]) {
    let Ok(frame) = Frame::decode(data, &Limits::default()) else { return };
    let encoded = frame.encode();
    // Another compressor may have packed the batch tighter than this one does.
    let roomy = Limits { frame_bytes_max: 64 << 20, ..Limits::default() };
    match Frame::decode(&encoded, &roomy) {
        Ok(again) => {
            assert_eq!(again, frame, "written again, it is another frame");
            assert_eq!(again.encode(), encoded, "a frame has two encodings of its own");
        }
        Err(error) => panic!("what decoded does not decode again: {error}: {frame:?}"),
    }
}
