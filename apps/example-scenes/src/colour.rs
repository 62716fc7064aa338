//! Colours as scene files write them, and the way between them and amounts of light.

use crate::vector::Vector;

/// An sRGB colour, in a file `"#rrggbb"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Colour([u8; 3]);

impl Colour {
    pub(crate) fn linear(self) -> Vector {
        let [r, g, b] = self.0.map(decode);
        Vector::new(r, g, b)
    }
}

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits =
            text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.map(|digits| u32::from_str_radix(digits, 16)) {
            Some(Ok(number)) => {
                let [_, r, g, b] = number.to_be_bytes();
                Ok(Self([r, g, b]))
            }
            _ => Err(format!("expected a colour such as \"#d4af37\", got {text:?}")),
        }
    }
}

/// Light in 0..=1 of an sRGB channel (IEC 61966-2-1).
pub(crate) fn decode(channel: u8) -> f64 {
    let value = f64::from(channel) / 255.0;
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// The sRGB channel nearest to an amount of light, what is outside 0..=1 being cut off (IEC 61966-2-1).
pub(crate) fn encode(light: f64) -> u8 {
    let light = light.clamp(0.0, 1.0);
    let value = if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
    (value * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_value_survives_the_way_to_light_and_back() {
        for channel in 0..=255 {
            assert_eq!(encode(decode(channel)), channel);
        }
    }

    #[test]
    fn only_six_hexadecimal_digits_after_a_hash_are_a_colour() {
        assert_eq!(Colour::try_from("#D4af37".to_owned()), Ok(Colour([0xd4, 0xaf, 0x37])));
        for wrong in ["", "#", "gold", "d4af37", "#d4af3", "#d4af377", "#+4af37", "#ü4af3"] {
            let message = Colour::try_from(wrong.to_owned()).unwrap_err();
            assert!(message.starts_with("expected a colour"), "{wrong}: {message}");
        }
    }
}
