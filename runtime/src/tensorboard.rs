//! TensorBoard event files: scalars and images.
//!
//! An event file is a sequence of records, each its length (u64), the length's checksum, a protobuf message `Event`, the
//! message's checksum. A checksum is CRC-32C, rotated and offset (tensorflow/core/lib/io/record_writer.h). The messages
//! are tensorflow/core/util/event.proto and framework/summary.proto, of which a dozen fields are written here by hand.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// CRC-32C (Castagnoli), reflected.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
}

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Message {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn int(self, field: u64, value: u64) -> Message {
        self.varint(field << 3).varint(value)
    }

    fn double(self, field: u64, value: f64) -> Message {
        let mut message = self.varint(field << 3 | 1);
        message.0.extend(value.to_le_bytes());
        message
    }

    fn float(self, field: u64, value: f32) -> Message {
        let mut message = self.varint(field << 3 | 5);
        message.0.extend(value.to_le_bytes());
        message
    }

    fn bytes(self, field: u64, value: &[u8]) -> Message {
        let mut message = self.varint(field << 3 | 2).varint(value.len() as u64);
        message.0.extend(value);
        message
    }
}

/// Appends events to a file of its own.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
}

impl EventWriter {
    /// Starts an event file in `dir`, which is created if need be. A resumed run starts another one, whose events replace
    /// the earlier ones' from `first_step` on.
    pub fn new(dir: &Path, first_step: u64) -> io::Result<EventWriter> {
        std::fs::create_dir_all(dir)?;
        let seconds = now() as u64;
        // Two in one second must not share a file.
        let open = |n: u32| {
            let path = dir.join(format!("events.out.tfevents.{seconds:010}.fgc.{n}"));
            OpenOptions::new().append(true).create_new(true).open(path)
        };
        let mut file = open(0);
        for n in 1..100 {
            match &file {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => file = open(n),
                _ => break,
            }
        }
        let mut writer = EventWriter { file: file? };
        writer.event(0, |event| event.bytes(3, b"brain.Event:2"))?;
        if first_step > 0 {
            // SessionLog { status: START }: readers drop what an earlier file has from this step on.
            let start = Message::default().int(1, 1);
            writer.event(first_step, |event| event.bytes(7, &start.0))?;
        }
        Ok(writer)
    }

    /// Writes named numbers of one step.
    pub fn scalars<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) -> io::Result<()> {
        let summary = values.into_iter().fold(Message::default(), |summary, (tag, value)| {
            summary.bytes(1, &Message::default().bytes(1, tag.as_bytes()).float(2, value as f32).0)
        });
        self.event(step, |event| event.bytes(5, &summary.0))
    }

    /// Writes a picture, as PNG.
    pub fn image(&mut self, step: u64, tag: &str, width: u32, height: u32, png: &[u8]) -> io::Result<()> {
        let rgb = 3;
        let image = Message::default().int(1, height.into()).int(2, width.into()).int(3, rgb).bytes(4, png);
        let value = Message::default().bytes(1, tag.as_bytes()).bytes(4, &image.0);
        self.event(step, |event| event.bytes(5, &Message::default().bytes(1, &value.0).0))
    }

    fn event(&mut self, step: u64, what: impl FnOnce(Message) -> Message) -> io::Result<()> {
        let event = what(Message::default().double(1, now()).int(2, step)).0;
        let length = (event.len() as u64).to_le_bytes();
        let record = [&length[..], &checksum(&length), &event, &checksum(&event)].concat();
        self.file.write_all(&record)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, section B.4, and the usual check value.
    #[test]
    fn crc_known_answers() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
    }

    #[test]
    fn varints_are_protobufs() {
        assert_eq!(Message::default().int(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().bytes(2, b"testing").0, b"\x12\x07testing");
    }

    #[test]
    fn records_are_framed_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::new(dir.path(), 0).unwrap();
        writer.scalars(300, [("loss", 0.5), ("lr", 1e-4)]).unwrap();
        EventWriter::new(dir.path(), 7).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 2);
        let bytes = std::fs::read(&files[0]).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], checksum(&rest[..8]));
            let event = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], checksum(event));
            events.push(event);
            rest = &rest[16 + length..];
        }
        assert_eq!(events.len(), 2);
        assert!(events[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        let scalar = [b"\x0a\x0b\x0a\x04loss\x15".as_slice(), &0.5f32.to_le_bytes()].concat();
        assert!(events[1].windows(scalar.len()).any(|w| w == scalar));
        assert_eq!(events[1][9..12], [0x10, 0xAC, 0x02], "the step");
    }
}
