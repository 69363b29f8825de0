//! Septets packed into octets, as GSM networks carry them: some upstreams want it done for them.

/// Behind a header the septets begin on a septet's boundary.
pub(super) fn pack(header: &[u8], septets: &[u8]) -> Vec<u8> {
    let fill = (7 - header.len() * 8 % 7) % 7;
    let mut bits = fill;
    let mut octets = header.to_vec();
    let mut current = 0_u16;
    // Seven spare bits at the end would read as another @: a carriage return fills them.
    let filler = (fill + septets.len() * 7) % 8 == 1;
    for septet in septets.iter().copied().chain(filler.then_some(0x0D)) {
        current |= u16::from(septet & 0x7F) << bits;
        bits += 7;
        if bits >= 8 {
            octets.push((current & 0xFF) as u8);
            current >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        octets.push((current & 0xFF) as u8);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_example() {
        assert_eq!(pack(&[], b"hellohello"), [0xE8, 0x32, 0x9B, 0xFD, 0x46, 0x97, 0xD9, 0xEC, 0x37]);
    }

    #[test]
    fn a_full_part_is_140_octets_behind_its_header() {
        assert_eq!(pack(&[5, 0, 3, 1, 2, 1], &[b'x'; 153]).len(), 140);
        assert_eq!(pack(&[6, 8, 4, 0, 1, 2, 1], &[b'x'; 152]).len(), 140);
        assert_eq!(pack(&[], &[b'x'; 160]).len(), 140);
    }

    #[test]
    fn seven_spare_bits_hold_a_carriage_return() {
        let octets = pack(&[], b"1234567");
        assert_eq!(octets.len(), 7);
        assert_eq!(octets[6] >> 1, 0x0D);
    }
}
