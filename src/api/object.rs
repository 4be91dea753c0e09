//! Writing a JSON object, member by member.
//!
//! Most members of an answer are digits and dates, in which JSON has nothing to escape: a
//! serializer would look at each of their characters for it, for every answer.

use serde::Serialize;

/// A JSON object in the making.
pub(super) struct Object(Vec<u8>);

impl Object {
    /// No member yet, and room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Adds a string of which no character has to be escaped (RFC 8259 7).
    pub(super) fn plain(&mut self, name: &'static str, text: &[u8]) {
        debug_assert!(
            text.iter()
                .all(|&byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
        );
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    /// Adds any other value.
    pub(super) fn value(
        &mut self,
        name: &'static str,
        value: &impl Serialize,
    ) -> serde_json::Result<()> {
        self.name(name);
        serde_json::to_writer(&mut self.0, value)
    }

    /// The whole.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }

    fn name(&mut self, name: &'static str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_one_after_the_other() {
        let empty = Object::with_capacity(0);
        assert_eq!(empty.finish(), b"{}");
        let mut object = Object::with_capacity(16);
        object.plain("imei", b"490154203237518");
        object.value("model", &"a \"quoted\" name").unwrap();
        object.value("match", &true).unwrap();
        let text = object.finish();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"imei":"490154203237518","model":"a \"quoted\" name","match":true}"#
        );
    }
}
