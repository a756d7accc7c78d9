//! Image formats by content and by extension: those that are read, and those that are only known by name.

/// A file format of images. The one list that says what is read; everything else asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// JPEG (ISO 10918), Huffman-coded with 8 bits per sample.
    Jpeg,
    /// Portable Network Graphics.
    Png,
    /// WebP, lossy or lossless.
    WebP,
    /// GIF; of an animation the first frame.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF and BigTIFF; of several pages the first.
    Tiff,
    /// Netpbm's PBM, PGM and PPM.
    Netpbm,
    /// JPEG 2000 (ISO 15444), as a JP2 file or a bare codestream.
    Jpeg2000,
    /// JPEG XL (ISO 18181), as a container or a bare codestream.
    JpegXl,
    /// AVIF: AV1 in a HEIF container. Not read.
    Avif,
    /// HEIC and other HEIF files. Not read.
    Heic,
    /// JPEG XR (HD Photo). Not read.
    JpegXr,
    /// The raw sensor data of a camera. Not read.
    CameraRaw,
    /// Photoshop document. Not read.
    Photoshop,
    /// Scalable Vector Graphics. Not read.
    Svg,
    /// Windows icon or cursor. Not read.
    Icon,
    /// OpenEXR. Not read.
    OpenExr,
    /// Radiance HDR. Not read.
    Radiance,
    /// DirectDraw surface. Not read.
    DirectDraw,
    /// Truevision TGA, which has no signature. Not read.
    Targa,
    /// Quite OK Image. Not read.
    Qoi,
    /// Farbfeld. Not read.
    Farbfeld,
    /// PCX. Not read.
    Pcx,
}

/// What is known of a format: its name, whether it is read, its usual extensions in lower case.
type Facts = (&'static str, bool, &'static [&'static str]);

impl ImageFormat {
    /// Every format.
    pub const ALL: [Self; 23] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Gif,
        Self::Bmp,
        Self::Tiff,
        Self::Netpbm,
        Self::Jpeg2000,
        Self::JpegXl,
        Self::Avif,
        Self::Heic,
        Self::JpegXr,
        Self::CameraRaw,
        Self::Photoshop,
        Self::Svg,
        Self::Icon,
        Self::OpenExr,
        Self::Radiance,
        Self::DirectDraw,
        Self::Targa,
        Self::Qoi,
        Self::Farbfeld,
        Self::Pcx,
    ];

    fn facts(self) -> Facts {
        match self {
            Self::Jpeg => (
                "JPEG",
                true,
                &["jpg", "jpeg", "jpe", "jfif", "jif", "jfi", "mpo"],
            ),
            Self::Png => ("PNG", true, &["png", "apng"]),
            Self::WebP => ("WebP", true, &["webp"]),
            Self::Gif => ("GIF", true, &["gif"]),
            Self::Bmp => ("BMP", true, &["bmp", "dib"]),
            Self::Tiff => ("TIFF", true, &["tif", "tiff", "btf", "tf8"]),
            Self::Netpbm => ("Netpbm", true, &["pbm", "pgm", "ppm", "pnm"]),
            Self::Jpeg2000 => (
                "JPEG 2000",
                true,
                &["jp2", "j2k", "j2c", "jpc", "jpf", "jpx"],
            ),
            Self::JpegXl => ("JPEG XL", true, &["jxl"]),
            Self::Avif => ("AVIF", false, &["avif", "avifs"]),
            Self::Heic => (
                "HEIC",
                false,
                &["heic", "heif", "heics", "heifs", "hif", "avci"],
            ),
            Self::JpegXr => ("JPEG XR", false, &["jxr", "wdp", "hdp"]),
            Self::CameraRaw => (
                "camera raw",
                false,
                &[
                    "dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "sr2", "srf", "raf", "orf",
                    "rw2", "pef", "srw", "x3f", "3fr", "iiq",
                ],
            ),
            Self::Photoshop => ("Photoshop", false, &["psd", "psb"]),
            Self::Svg => ("SVG", false, &["svg", "svgz"]),
            Self::Icon => ("Windows icon", false, &["ico", "cur"]),
            Self::OpenExr => ("OpenEXR", false, &["exr"]),
            Self::Radiance => ("Radiance HDR", false, &["hdr"]),
            Self::DirectDraw => ("DirectDraw surface", false, &["dds"]),
            Self::Targa => ("TGA", false, &["tga"]),
            Self::Qoi => ("QOI", false, &["qoi"]),
            Self::Farbfeld => ("farbfeld", false, &["ff"]),
            Self::Pcx => ("PCX", false, &["pcx"]),
        }
    }

    /// The name that users know.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Whether [`decode`](crate::image::decode) reads files of this format.
    pub fn is_read(self) -> bool {
        self.facts().1
    }

    /// Usual extensions, in lower case and without the dot.
    pub fn extensions(self) -> &'static [&'static str] {
        self.facts().2
    }

    /// The format that an extension (without the dot, in any case) stands for. The content may say otherwise.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| {
            format
                .extensions()
                .iter()
                .any(|known| known.eq_ignore_ascii_case(extension))
        })
    }

    /// The format that the first bytes of a file tell.
    pub fn from_content(bytes: &[u8]) -> Option<Self> {
        SIGNATURES
            .iter()
            .find(|(signature, _)| bytes.starts_with(signature))
            .map(|&(_, format)| format)
            .or_else(|| from_brand(bytes))
            .or_else(|| (is_webp(bytes)).then_some(Self::WebP))
            .or_else(|| is_netpbm(bytes).then_some(Self::Netpbm))
            .or_else(|| is_svg(bytes).then_some(Self::Svg))
    }

    /// The names of all formats that are read, as a list in a sentence.
    pub fn read_names() -> String {
        let names: Vec<_> = Self::ALL
            .into_iter()
            .filter(|format| format.is_read())
            .map(Self::name)
            .collect();
        let (last, others) = names.split_last().expect("some formats are read");
        format!("{} or {last}", others.join(", "))
    }
}

/// First bytes of files; a longer one that begins like a shorter one stands before it.
const SIGNATURES: [(&[u8], ImageFormat); 33] = [
    (b"\x89PNG\r\n\x1a\n", ImageFormat::Png),
    (b"\xff\xd8\xff", ImageFormat::Jpeg),
    (b"GIF87a", ImageFormat::Gif),
    (b"GIF89a", ImageFormat::Gif),
    (b"BM", ImageFormat::Bmp),
    (b"II*\0\x10\0\0\0CR", ImageFormat::CameraRaw),
    (b"II*\0", ImageFormat::Tiff),
    (b"MM\0*", ImageFormat::Tiff),
    (b"II+\0", ImageFormat::Tiff),
    (b"MM\0+", ImageFormat::Tiff),
    (b"\0\0\0\x0cjP  \r\n\x87\n", ImageFormat::Jpeg2000),
    (b"\xff\x4f\xff\x51", ImageFormat::Jpeg2000),
    (b"\0\0\0\x0cJXL \r\n\x87\n", ImageFormat::JpegXl),
    (b"\xff\x0a", ImageFormat::JpegXl),
    (b"II\xbc", ImageFormat::JpegXr),
    (b"IIU\0", ImageFormat::CameraRaw),
    (b"IIRO", ImageFormat::CameraRaw),
    (b"IIRS", ImageFormat::CameraRaw),
    (b"MMOR", ImageFormat::CameraRaw),
    (b"FUJIFILMCCD-RAW", ImageFormat::CameraRaw),
    (b"FOVb", ImageFormat::CameraRaw),
    (b"8BPS", ImageFormat::Photoshop),
    (b"\0\0\x01\0", ImageFormat::Icon),
    (b"\0\0\x02\0", ImageFormat::Icon),
    (b"\x76\x2f\x31\x01", ImageFormat::OpenExr),
    (b"#?RADIANCE", ImageFormat::Radiance),
    (b"#?RGBE", ImageFormat::Radiance),
    (b"DDS ", ImageFormat::DirectDraw),
    (b"qoif", ImageFormat::Qoi),
    (b"farbfeld", ImageFormat::Farbfeld),
    (b"\x0a\x02\x01", ImageFormat::Pcx),
    (b"\x0a\x03\x01", ImageFormat::Pcx),
    (b"\x0a\x05\x01", ImageFormat::Pcx),
];

/// ISO base media files name themselves by four letters: a major brand, a version, then the compatible brands.
fn from_brand(bytes: &[u8]) -> Option<ImageFormat> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if bytes.get(4..8)? != b"ftyp" {
        return None;
    }
    let end = length.clamp(12, 256).min(bytes.len());
    let known = |brand: &[u8]| match brand {
        b"avif" | b"avis" => Some(ImageFormat::Avif),
        b"crx " => Some(ImageFormat::CameraRaw),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" | b"mif1"
        | b"msf1" | b"mif2" => Some(ImageFormat::Heic),
        _ => None,
    };
    let brands = || {
        let compatible = bytes.get(16..end).unwrap_or_default();
        [bytes.get(8..12).unwrap_or_default()]
            .into_iter()
            .chain(compatible.chunks_exact(4))
            .filter_map(known)
    };
    // `mif1` stands for any HEIF file, so that AVIF among the brands decides.
    brands()
        .find(|&format| format != ImageFormat::Heic)
        .or_else(|| brands().next())
}

fn is_webp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")
}

/// `P1` to `P6` and white space; two letters alone would make images of texts.
fn is_netpbm(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'1'..=b'6', space, ..] if space.is_ascii_whitespace())
}

fn is_svg(bytes: &[u8]) -> bool {
    /// How far into the file the root element is looked for.
    const REACH: usize = 1024;
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(REACH)]);
    let start = start.trim_start_matches('\u{feff}').trim_start();
    start.starts_with("<svg")
        || (start.starts_with("<?xml") || start.starts_with("<!")) && start.contains("<svg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_stands_for_one_format() {
        let all: Vec<_> = ImageFormat::ALL
            .iter()
            .flat_map(|format| format.extensions())
            .collect();
        let mut unique = all.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), all.len());
        for format in ImageFormat::ALL {
            for extension in format.extensions() {
                let found = ImageFormat::from_extension(&extension.to_uppercase());
                assert_eq!(found, Some(format), "{extension}");
            }
        }
        assert_eq!(ImageFormat::from_extension("txt"), None);
    }

    #[test]
    fn brands_decide_among_containers() {
        let file = |brands: &[u8; 12]| [b"\0\0\0\x1cftyp".as_slice(), brands, b"\0\0\0\0"].concat();
        let cases: [(&[u8; 12], _); 5] = [
            (b"avif\0\0\0\0mif1", Some(ImageFormat::Avif)),
            (b"mif1\0\0\0\0avif", Some(ImageFormat::Avif)),
            (b"mif1\0\0\0\0heic", Some(ImageFormat::Heic)),
            (b"crx \0\0\0\0isom", Some(ImageFormat::CameraRaw)),
            (b"mp42\0\0\0\0isom", None),
        ];
        for (brands, expected) in cases {
            assert_eq!(ImageFormat::from_content(&file(brands)), expected);
        }
    }

    #[test]
    fn texts_are_no_images() {
        for text in [
            "P1anet\n",
            "Plain",
            "BOM",
            "<html><body>",
            "",
            "\u{feff}",
            "<?xml?><a/>",
        ] {
            assert_eq!(ImageFormat::from_content(text.as_bytes()), None, "{text}");
        }
        let drawing = b"\xef\xbb\xbf <?xml version='1.0'?>\n<svg xmlns=''/>";
        assert_eq!(ImageFormat::from_content(drawing), Some(ImageFormat::Svg));
    }
}
