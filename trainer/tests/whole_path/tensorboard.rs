//! TensorBoard's event files, read by the format's definition alone.

use super::*;

/// CRC-32C bit by bit (polynomial 0x1EDC6F41, reflected), masked as TFRecord does.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The fields of a protobuf message: number, and the bytes or the number (fixed or varint) it holds.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let size = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, bytes[..size].to_vec()));
        bytes = &bytes[size..];
    }
    found
}

/// The scalars of a run's event file: step, tag, value.
fn scalars(run: &Path) -> Vec<(u64, String, f32)> {
    let files: Vec<_> = fs::read_dir(run.join("tensorboard")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
    let bytes = fs::read(&files[0]).unwrap();
    let (mut rest, mut found, mut num_records) = (&bytes[..], Vec::new(), 0);
    while !rest.is_empty() {
        let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let size = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(number(8), masked_crc(&rest[..8]));
        let data = &rest[12..12 + size];
        assert_eq!(number(12 + size), masked_crc(data));
        let event = fields(data);
        let get = |wanted| event.iter().find(|(n, _)| *n == wanted).map(|(_, bytes)| bytes);
        assert!(f64::from_le_bytes(get(1).unwrap()[..].try_into().unwrap()) > 1.7e9, "wall time");
        if num_records == 0 {
            assert_eq!(get(3).unwrap(), b"brain.Event:2");
        } else {
            let step = u64::from_le_bytes(get(2).unwrap()[..].try_into().unwrap());
            for (_, value) in fields(get(5).unwrap()) {
                let [(1, tag), (2, scalar)] = &fields(&value)[..] else { panic!("{value:?}") };
                let scalar = f32::from_le_bytes(scalar[..].try_into().unwrap());
                found.push((step, String::from_utf8(tag.clone()).unwrap(), scalar));
            }
        }
        num_records += 1;
        rest = &rest[12 + size + 4..];
    }
    found
}

/// Every value of metrics.csv under its name, in the order of the event file.
fn table(run: &Path) -> Vec<(u64, String, f32)> {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let mut found = Vec::new();
    for row in reader.records() {
        let row = row.unwrap();
        for (name, value) in header.iter().zip(&row).skip(1) {
            found.push((row[0].parse().unwrap(), name.clone(), value.parse().unwrap()));
        }
    }
    found
}

#[test]
fn a_killed_run_has_every_scalar_of_its_table_once() {
    const EPOCHS: usize = 20;
    // Ten of the run, four metrics of four axes.
    const NUM_SCALARS: usize = 10 + 16;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_corpus(folder.path());
    fs::write(path("config.toml"), CONFIG).unwrap();
    let (config, corpus, out, epochs) =
        (path("config.toml"), path("."), path("run"), format!("epochs={EPOCHS}"));
    let train = ["train", "--config", &config, "--corpus", &corpus, "--set", &epochs, "--out", &out];
    let resume = [&train[..], &["--resume"]].concat();
    let run = folder.path().join("run");
    kill_after_three_epochs(&resume, &run, EPOCHS);
    succeed(&resume);

    let (events, table) = (scalars(&run), table(&run));
    assert_eq!(table.len(), EPOCHS * NUM_SCALARS);
    assert_eq!(events.len(), table.len());
    for ((step, tag, value), (epoch, column, expected)) in events.iter().zip(&table) {
        assert_eq!((step, &tag.replacen('/', "_", 1)), (epoch, column));
        // The table rounds to six digits, times to two.
        let digits = if column.ends_with("_seconds") { 5.1e-3 } else { 1e-6 * (1.0 + expected.abs()) };
        let is_equal = (value - expected).abs() <= digits || value.is_nan() && expected.is_nan();
        assert!(is_equal, "epoch {epoch}: {column} is {expected}, {tag} {value}");
    }
    let tags: Vec<&str> = events[..NUM_SCALARS].iter().map(|(_, tag, _)| tag.as_str()).collect();
    for tag in ["learning_rate", "train/loss", "train/seconds", "validation/mse", "validation/PQ_srcc"] {
        assert!(tags.contains(&tag), "{tags:?}");
    }
}
