//! A file's bytes where the system keeps them.
//!
//! No arithmetic; it is here because `unsafe` is, and nothing above the kernels may hold any.

use core::ops::Deref;
use std::fs::File;
use std::io;

use memmap2::Mmap;

/// A whole file, mapped into memory to be read: nothing is copied, and programs that map one file share its pages.
///
/// Whoever changes the file must put another in its place (write beside it, then rename), as aesa's exporters do. A mapped file that is
/// written over shows other bytes, and one that is cut short ends the program with the system's signal for bad memory (SIGBUS).
#[derive(Debug)]
pub struct FileMap(Mmap);

impl FileMap {
    /// Maps a regular file as long as it is now; the file may be closed, renamed or removed afterwards.
    ///
    /// # Errors
    /// The system's: what is no regular file, and some file systems, cannot be mapped.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the pages stay mapped, to be read only, as long as `self`, from which all slices of them borrow; any bytes are valid `u8`. That
        // no other program writes to the file meanwhile cannot be enforced by any program: it is what this type's text asks of users, and what they
        // risk otherwise is said there.
        unsafe { Mmap::map(file) }.map(Self)
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn a_map_has_the_files_bytes_and_outlives_its_name() {
        let path = env::temp_dir().join(std::format!("aesa-file-map-{}", process::id()));
        let bytes: std::vec::Vec<u8> = (0..70_001u32).map(|n| (n.wrapping_mul(n) >> 5) as u8).collect();
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let map = FileMap::new(&File::open(&path).unwrap()).unwrap();
        assert_eq!(map.as_ptr().align_offset(64), 0);
        fs::remove_file(&path).unwrap();
        assert_eq!(&map[..], &bytes[..]);
    }

    #[test]
    fn what_is_no_file_cannot_be_mapped() {
        assert!(File::open(env::temp_dir()).and_then(|folder| FileMap::new(&folder)).is_err());
    }
}
