//! Output files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file under a temporary name beside its target, renamed by [`AtomicFile::commit`] and deleted without it.
pub(crate) struct AtomicFile {
    writer: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    is_committed: bool,
}

impl AtomicFile {
    /// Creates the temporary file, so that an unwritable target shows before the work begins.
    pub(crate) fn create(target: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {}", target.display());
        if target.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory)).with_context(cannot);
        }
        let name = target.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let temporary = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let file = File::create(&temporary).with_context(cannot)?;
        Ok(Self {
            writer: BufWriter::new(file),
            temporary,
            target: target.to_path_buf(),
            is_committed: false,
        })
    }

    /// Gives the file its name.
    pub(crate) fn commit(mut self) -> anyhow::Result<()> {
        let cannot = format!("cannot write {}", self.target.display());
        self.writer.flush().with_context(|| cannot.clone())?;
        fs::rename(&self.temporary, &self.target).context(cannot)?;
        self.is_committed = true;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // Nothing more can be done about a leftover.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
