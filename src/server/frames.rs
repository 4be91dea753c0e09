//! Following the frames of an HTTP/2 client, as far as it takes to see whether it keeps us waiting:
//! what they say is the library's to read.

/// What every connection begins with (RFC 9113 3.4).
const PREFACE_LENGTH: usize = 24;
/// Length, type, flags, stream (RFC 9113 4.1).
const HEAD_LENGTH: usize = 9;
/// Types (RFC 9113 6): a header section is one of the first and as many of the second as it takes.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// The flag of the frame that is the last of its header section.
const END_HEADERS: u8 = 4;

/// Where in the frames of its client a connection is.
pub(super) struct Frames {
    /// What is left of the preface or of a frame's payload.
    left: usize,
    head: [u8; HEAD_LENGTH],
    /// How much of it has come.
    head_length: usize,
    /// Whether the header section goes on in the frame after this.
    in_header_section: bool,
}

/// What bytes from the client brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Brought {
    /// Something was ended that had been begun: a frame, and with it its header section.
    pub(super) an_end: bool,
    /// Something is begun and not ended.
    pub(super) a_beginning: bool,
}

impl Frames {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self {
            left: PREFACE_LENGTH,
            head: [0; HEAD_LENGTH],
            head_length: 0,
            in_header_section: false,
        }
    }

    /// Follows the next bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Brought {
        let mut an_end = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let length = self.left.min(bytes.len());
                self.left -= length;
                bytes = bytes.get(length..).unwrap_or_default();
            } else {
                bytes = self.head_from(bytes);
            }
            an_end |= !self.is_within();
        }
        Brought {
            an_end,
            a_beginning: self.is_within(),
        }
    }

    /// Whether what has come is part of something that is not whole.
    fn is_within(&self) -> bool {
        self.left > 0 || self.head_length > 0 || self.in_header_section
    }

    /// Takes what belongs to the head of a frame, and gives the rest.
    fn head_from<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = self.head.get_mut(self.head_length..).unwrap_or_default();
        let length = missing.len().min(bytes.len());
        let (ours, rest) = bytes.split_at(length);
        for (place, byte) in missing.iter_mut().zip(ours) {
            *place = *byte;
        }
        self.head_length += length;
        if self.head_length == HEAD_LENGTH {
            let [high, middle, low, kind, flags, ..] = self.head;
            let high = usize::from(u16::from_be_bytes([high, middle]));
            self.left = (high << 8) + usize::from(low);
            self.head_length = 0;
            if matches!(kind, HEADERS | CONTINUATION) {
                self.in_header_section = flags & END_HEADERS == 0;
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: u8 = 4;
    const DATA: u8 = 0;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(0x83, length.into()));
        frame
    }

    fn brought(an_end: bool, a_beginning: bool) -> Brought {
        Brought {
            an_end,
            a_beginning,
        }
    }

    #[test]
    fn what_is_begun_and_not_ended_is_seen() {
        let whole = brought(true, false);
        let open = brought(false, true);
        let next_open = brought(true, true);
        let cut = |frame: Vec<u8>, at: usize| frame[..at].to_vec();
        for (name, bytes, expected) in [
            ("settings", frame(SETTINGS, 0, 6), whole),
            ("empty settings", frame(SETTINGS, 0, 0), whole),
            ("a body", frame(DATA, 0, 200), whole),
            ("a whole section", frame(HEADERS, END_HEADERS, 9), whole),
            ("a section to be continued", frame(HEADERS, 0, 9), open),
            ("half a head", cut(frame(SETTINGS, 0, 6), 5), open),
            (
                "half a section",
                cut(frame(HEADERS, END_HEADERS, 9), 12),
                open,
            ),
            (
                "a section, continued",
                [frame(HEADERS, 0, 9), frame(CONTINUATION, 0, 1)].concat(),
                open,
            ),
            (
                "a section, ended",
                [frame(HEADERS, 0, 9), frame(CONTINUATION, END_HEADERS, 1)].concat(),
                whole,
            ),
            (
                "a section after another",
                [frame(HEADERS, END_HEADERS, 9), frame(HEADERS, 0, 9)].concat(),
                next_open,
            ),
        ] {
            let mut frames = Frames::new();
            assert_eq!(frames.follow(&PREFACE[..5]), open);
            assert_eq!(frames.follow(&PREFACE[5..]), whole);
            assert_eq!(frames.follow(&bytes), expected, "{name}");
            let mut frames = Frames::new();
            let mut last = frames.follow(PREFACE);
            for byte in &bytes {
                last = frames.follow(std::slice::from_ref(byte));
            }
            assert_eq!(last.a_beginning, expected.a_beginning, "{name}, by bytes");
        }
    }
}
