//! Parts of long texts that came without credit. Those after them may have some, and must not go first: they are refused too, until the
//! part that they wait for is there.
use std::collections::VecDeque;

use uuid::Uuid;

use crate::smpp::vendor::MessagePart;

/// Messages that are remembered, of each sender. A sender that means to send them tries again within its next few submits.
const MOST: usize = 256;

/// Of messages of which a part was refused: the first such part.
#[derive(Debug, Default)]
pub(super) struct Refused(VecDeque<(Uuid, u8)>);

impl Refused {
    /// Takes note of a part that came; `uncredited`: it has no credit. True where it is to wait.
    pub(super) fn judge(&mut self, part: MessagePart, uncredited: bool) -> bool {
        let known = self.0.iter().position(|(message, _)| *message == part.message);
        let Some(known) = known else {
            if uncredited && part.part < part.parts {
                self.0.truncate(MOST - 1);
                self.0.push_front((part.message, part.part));
            }
            return uncredited;
        };
        let Some((_, first)) = self.0.get_mut(known) else { return uncredited };
        if uncredited {
            *first = part.part.min(*first);
        } else if part.part == *first {
            self.0.remove(known);
        } else {
            return part.part > *first;
        }
        uncredited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(message: u128, part: u8) -> MessagePart {
        MessagePart { message: Uuid::from_u128(message), part, parts: 3 }
    }

    #[test]
    fn parts_wait_for_the_one_that_was_refused() {
        let mut refused = Refused::default();
        assert!(!refused.judge(part(1, 1), false));
        assert!(refused.judge(part(1, 2), true));
        assert!(refused.judge(part(1, 3), false), "the third waits for the second");
        assert!(!refused.judge(part(2, 3), false), "of another message");
        assert!(!refused.judge(part(1, 1), false), "the first may come again");
        assert!(refused.judge(part(1, 3), false), "and changes nothing");
        assert!(!refused.judge(part(1, 2), false));
        assert!(!refused.judge(part(1, 3), false));
        assert!(refused.0.is_empty());
    }

    #[test]
    fn the_first_of_those_refused_counts() {
        let mut refused = Refused::default();
        assert!(refused.judge(part(1, 2), true));
        assert!(refused.judge(part(1, 1), true));
        assert!(refused.judge(part(1, 2), false));
        assert!(!refused.judge(part(1, 1), false));
        assert!(!refused.judge(part(1, 2), false));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room() {
        let mut refused = Refused::default();
        for message in 0..1_000 {
            refused.judge(part(message, 1), true);
        }
        assert_eq!(refused.0.len(), MOST);
        assert!(refused.judge(part(999, 2), false));
        assert!(!refused.judge(part(0, 2), false), "forgotten");
    }
}
