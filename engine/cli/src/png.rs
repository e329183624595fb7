//! Small PNG pictures with a palette, as text for an SVG.

/// A picture of palette indices.
pub(crate) struct Picture<'a> {
    /// Pixels per row.
    pub(crate) width: usize,
    /// `[height, width]`, row-major, from the top left.
    pub(crate) pixels: &'a [u8],
    /// Red, green and blue of each index.
    pub(crate) palette: &'a [[u8; 3]; 256],
}

/// A picture as a `data:` address.
pub(crate) fn data_url(picture: &Picture<'_>) -> String {
    format!("data:image/png;base64,{}", base64(&encode(picture)))
}

/// PNG (W3C, third edition) with stored, uncompressed data: the spectrogram is small and noisy.
fn encode(picture: &Picture<'_>) -> Vec<u8> {
    let height = picture.pixels.len() / picture.width;
    let mut header = Vec::new();
    header.extend((picture.width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    // 8 bits per pixel, palette, deflate, no filter, not interlaced.
    header.extend([8, 3, 0, 0, 0]);
    let rows: Vec<u8> = picture
        .pixels
        .chunks_exact(picture.width)
        .flat_map(|row| core::iter::once(&0).chain(row))
        .copied()
        .collect();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    push_chunk(&mut png, b"IHDR", &header);
    push_chunk(&mut png, b"PLTE", picture.palette.as_flattened());
    push_chunk(&mut png, b"IDAT", &zlib_stored(&rows));
    push_chunk(&mut png, b"IEND", &[]);
    png
}

fn push_chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend((data.len() as u32).to_be_bytes());
    let start = png.len();
    png.extend(kind);
    png.extend(data);
    let crc = crc32(&png[start..]);
    png.extend(crc.to_be_bytes());
}

/// A zlib stream (RFC 1950) of stored blocks (RFC 1951, section 3.2.4).
fn zlib_stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let num_blocks = data.len().div_ceil(MAX_BLOCK_BYTES);
    for (i, block) in data.chunks(MAX_BLOCK_BYTES).enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(i + 1 == num_blocks));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(data).to_be_bytes());
    stream
}

const MAX_BLOCK_BYTES: usize = 65_535;

/// CRC-32 of PNG, annex D, without its table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

/// Adler-32 of RFC 1950.
fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    (b << 16) | a
}

/// Base 64 of RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63] as char;
            text.push(if i <= group.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_base64_match_the_standards_examples() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn long_data_is_cut_into_blocks() {
        let data = vec![7; 2 * MAX_BLOCK_BYTES + 1];
        let stream = zlib_stored(&data);
        assert_eq!(stream.len(), 2 + 3 * 5 + data.len() + 4);
        assert_eq!(stream[2], 0, "the first block is not the last");
        assert_eq!(stream[2 + 2 * (5 + MAX_BLOCK_BYTES)], 1, "the third is");
    }
}
