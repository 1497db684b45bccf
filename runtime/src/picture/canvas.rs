//! Anti-aliased drawing: rectangles, discs, lines, text.

use image::RgbImage;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

pub(super) type Colour = [u8; 3];

pub(super) const WHITE: Colour = [255; 3];
pub(super) const INK: Colour = [45, 49, 58];
pub(super) const FADED: Colour = [112, 119, 133];
pub(super) const GRID: Colour = [231, 234, 239];

/// Colours that stay apart, for the colour-blind too.
pub(super) const PALETTE: [Colour; 8] = [
    [37, 99, 205],
    [232, 116, 32],
    [22, 148, 104],
    [200, 48, 88],
    [130, 84, 202],
    [150, 104, 44],
    [20, 160, 196],
    [108, 114, 126],
];

/// Heights of text, in pixels a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Title,
}

impl Size {
    fn font(self) -> (FontWeight, RasterHeight) {
        match self {
            Size::Small => (FontWeight::Regular, RasterHeight::Size24),
            Size::Title => (FontWeight::Bold, RasterHeight::Size32),
        }
    }

    pub fn height(self) -> f64 {
        self.font().1.val() as f64
    }

    pub fn width(self, text: &str) -> f64 {
        let (weight, height) = self.font();
        (get_raster_width(weight, height) * text.chars().count()) as f64
    }
}

/// A picture under construction; coordinates are pixels from the top left corner.
pub(super) struct Canvas {
    image: RgbImage,
}

impl Canvas {
    pub fn new(width: usize, height: usize, ground: Colour) -> Canvas {
        Canvas { image: RgbImage::from_pixel(width as u32, height as u32, image::Rgb(ground)) }
    }

    pub fn into_image(self) -> RgbImage {
        self.image
    }

    /// Mixes `colour` into a pixel; those outside the picture do not matter.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, alpha: f64) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if let Some(pixel) = self.image.get_pixel_mut_checked(x, y) {
            for (p, c) in pixel.0.iter_mut().zip(colour) {
                *p = (f64::from(*p) + alpha * (f64::from(c) - f64::from(*p))).round() as u8;
            }
        }
    }

    pub fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        for row in y.round() as i64..(y + height).round() as i64 {
            for column in x.round() as i64..(x + width).round() as i64 {
                self.blend(column, row, colour, 1.0);
            }
        }
    }

    pub fn disc(&mut self, x: f64, y: f64, radius: f64, colour: Colour, alpha: f64) {
        let reach = radius + 1.0;
        for row in (y - reach).floor() as i64..=(y + reach).ceil() as i64 {
            for column in (x - reach).floor() as i64..=(x + reach).ceil() as i64 {
                let distance = (column as f64 + 0.5 - x).hypot(row as f64 + 0.5 - y);
                let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                if cover > 0.0 {
                    self.blend(column, row, colour, alpha * cover);
                }
            }
        }
    }

    /// A line through points, of one transparency where it crosses itself, too. Only what lies within `clip` (left,
    /// top, right, bottom) is drawn.
    pub fn line(&mut self, points: &[(f64, f64)], width: f64, colour: Colour, alpha: f64, clip: [f64; 4]) {
        let [left, top, right, bottom] = clip.map(|c| c.round() as i64);
        let (columns, rows) = ((right - left).max(0) as usize, (bottom - top).max(0) as usize);
        let mut cover = vec![0f32; columns * rows];
        let reach = width / 2.0 + 1.0;
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let (dx, dy) = (x1 - x0, y1 - y0);
            let squared = (dx * dx + dy * dy).max(1e-12);
            let range = |a: f64, b: f64, low: i64, high: i64| {
                let from = ((a.min(b) - reach).floor() as i64).clamp(low, high);
                from..((a.max(b) + reach).ceil() as i64).clamp(low, high)
            };
            for row in range(y0, y1, top, bottom) {
                for column in range(x0, x1, left, right) {
                    let (px, py) = (column as f64 + 0.5 - x0, row as f64 + 0.5 - y0);
                    let along = ((px * dx + py * dy) / squared).clamp(0.0, 1.0);
                    let distance = (px - along * dx).hypot(py - along * dy);
                    let here = (width / 2.0 + 0.5 - distance).clamp(0.0, 1.0) as f32;
                    let cell = &mut cover[(row - top) as usize * columns + (column - left) as usize];
                    *cell = cell.max(here);
                }
            }
        }
        for (i, &cover) in cover.iter().enumerate().filter(|(_, c)| **c > 0.0) {
            let (column, row) = (left + (i % columns) as i64, top + (i / columns) as i64);
            self.blend(column, row, colour, alpha * f64::from(cover));
        }
    }

    /// Text whose line starts at (x, y), the top left corner. Characters the font lacks are shown as `?`.
    pub fn text(&mut self, x: f64, y: f64, text: &str, size: Size, colour: Colour) {
        let (weight, height) = size.font();
        let advance = get_raster_width(weight, height) as i64;
        for (i, character) in text.chars().enumerate() {
            let raster = get_raster(character, weight, height).or_else(|| get_raster('?', weight, height));
            let Some(raster) = raster else { continue };
            for (row, line) in raster.rows().enumerate() {
                for (column, &cover) in line.iter().enumerate().filter(|(_, cover)| **cover > 0) {
                    let px = x.round() as i64 + i as i64 * advance + column as i64;
                    self.blend(px, y.round() as i64 + row as i64, colour, f64::from(cover) / 255.0);
                }
            }
        }
    }
}
