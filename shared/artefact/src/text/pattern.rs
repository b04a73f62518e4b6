//! Python's regular expressions without lookaround and backreferences, matched in time linear in the text.
//!
//! A pattern is compiled to instructions, which are run for all possible beginnings of a match side by side. They stand in
//! the order in which Python's backtracking prefers them.

mod parse;

use super::characters::{is_digit, is_space, is_word};

/// Largest number of instructions.
const MAX_INSTRUCTIONS: usize = 4096;
/// The most ranges of characters of one set, which each instruction with the set has.
const MAX_RANGES: usize = 256;
/// Bytes of the allocations of a set besides their content.
const SET_BYTES: usize = 32;

/// A set of characters.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    negated: bool,
    ranges: Vec<(char, char)>,
    /// `w`, `W`, `d`, `D`, `s` and `S`.
    classes: Vec<char>,
}

impl Set {
    fn contains(&self, c: char) -> bool {
        let class = |class: &char| match class {
            'w' => is_word(c),
            'W' => !is_word(c),
            'd' => is_digit(c),
            'D' => !is_digit(c),
            's' => is_space(c),
            _ => !is_space(c),
        };
        let inside =
            self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) || self.classes.iter().any(class);
        inside != self.negated
    }
}

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    End,
    /// At the end, or before a line feed at the end.
    LastLine,
    Boundary,
    NoBoundary,
}

#[derive(Debug, Clone)]
enum Instruction {
    One(Set),
    At(Place),
    /// Goes to both, the first preferred.
    Split(usize, usize),
    Jump(usize),
    Save(usize),
    Done,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    program: Vec<Instruction>,
    groups: usize,
}

/// A match in the making: the next instruction, and where the match and its group begin and end.
#[derive(Clone, Copy)]
struct Thread {
    at: usize,
    saved: [usize; 4],
}

const NONE: usize = usize::MAX;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A text that names what is not supported: lookaround, backreferences, flags, more than one group.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let (node, groups) = parse::parse(pattern)?;
        if groups > 1 {
            return Err("has more than one group".to_owned());
        }
        let mut program = vec![Instruction::Save(0)];
        parse::compile(&node, &mut program)?;
        program.extend([Instruction::Save(1), Instruction::Done]);
        program.shrink_to_fit();
        Ok(Self { program, groups })
    }

    /// Bytes that the compiled pattern takes.
    pub fn bytes(&self) -> usize {
        let set = |instruction: &Instruction| match instruction {
            Instruction::One(set) => {
                SET_BYTES + set.ranges.len() * size_of::<(char, char)>() + set.classes.len() * size_of::<char>()
            }
            _ => 0,
        };
        self.program.iter().map(|instruction| size_of::<Instruction>() + set(instruction)).sum()
    }

    /// As Python's `findall`: calls `f` with each match, or with its group if the pattern has one.
    pub fn find_all<'t>(&self, text: &'t str, mut f: impl FnMut(&'t str)) {
        let (mut from, mut advance) = (0, false);
        while let Some(saved) = self.search(text, from, advance) {
            let [start, end, group_start, group_end] = saved;
            f(match self.groups {
                0 => &text[start..end],
                _ if group_start == NONE || group_end == NONE => "",
                _ => &text[group_start..group_end],
            });
            (from, advance) = (end, start == end);
        }
    }

    /// The first match that begins at `from` or later; one at `from` must not be empty if `advance`.
    fn search(&self, text: &str, from: usize, advance: bool) -> Option<[usize; 4]> {
        let (mut now, mut next) = (Threads::new(self.program.len()), Threads::new(self.program.len()));
        let mut best: Option<[usize; 4]> = None;
        let mut at = from;
        let mut before = text[..from].chars().next_back();
        let mut rest = text[from..].chars();
        loop {
            let here = rest.clone().next();
            let place = Here { at, before, here, text };
            if best.is_none() {
                let mut saved = [NONE; 4];
                saved[0] = at;
                self.add(&mut now, 0, saved, &place);
            }
            if now.list.is_empty() && best.is_some() {
                return best;
            }
            for thread in std::mem::take(&mut now.list) {
                match &self.program[thread.at] {
                    Instruction::One(set) => {
                        if let Some(c) = here
                            && set.contains(c)
                        {
                            let after = Here { at: at + c.len_utf8(), before: here, here: place.after(), text };
                            self.add(&mut next, thread.at + 1, thread.saved, &after);
                        }
                    }
                    Instruction::Done if advance && thread.saved[0] == from && at == from => {}
                    Instruction::Done => {
                        best = Some(thread.saved);
                        // what follows is less preferred
                        break;
                    }
                    _ => {}
                }
            }
            let Some(c) = rest.next() else { return best };
            at += c.len_utf8();
            before = Some(c);
            std::mem::swap(&mut now, &mut next);
            next.clear();
        }
    }

    /// Adds a thread and follows the instructions that take no character.
    fn add(&self, threads: &mut Threads, at: usize, saved: [usize; 4], here: &Here<'_>) {
        let mut stack = vec![(at, saved)];
        while let Some((at, mut saved)) = stack.pop() {
            if std::mem::replace(&mut threads.seen[at], true) {
                continue;
            }
            match &self.program[at] {
                Instruction::Jump(to) => stack.push((*to, saved)),
                Instruction::Split(first, second) => stack.extend([(*second, saved), (*first, saved)]),
                Instruction::Save(slot) => {
                    saved[*slot] = here.at;
                    stack.push((at + 1, saved));
                }
                Instruction::At(place) => {
                    if here.is(*place) {
                        stack.push((at + 1, saved));
                    }
                }
                Instruction::One(_) | Instruction::Done => threads.list.push(Thread { at, saved }),
            }
        }
    }
}

/// The threads at one place, in order of preference.
struct Threads {
    list: Vec<Thread>,
    seen: Vec<bool>,
}

impl Threads {
    fn new(instructions: usize) -> Self {
        Self { list: Vec::new(), seen: vec![false; instructions] }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.seen.fill(false);
    }
}

/// A place in the text and the characters around it.
struct Here<'t> {
    at: usize,
    before: Option<char>,
    here: Option<char>,
    text: &'t str,
}

impl Here<'_> {
    fn after(&self) -> Option<char> {
        self.text[self.at..].chars().nth(1)
    }

    fn is(&self, place: Place) -> bool {
        let boundary = || self.before.is_some_and(is_word) != self.here.is_some_and(is_word);
        match place {
            Place::Start => self.before.is_none(),
            Place::End => self.here.is_none(),
            Place::LastLine => self.here.is_none() || &self.text[self.at..] == "\n",
            Place::Boundary => boundary(),
            Place::NoBoundary => !boundary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pattern: &str, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        Pattern::new(pattern).unwrap().find_all(text, |found| out.push(found.to_owned()));
        out
    }

    #[test]
    fn what_pythons_findall_answers() {
        assert_eq!(all(r"(?u)\b\w\w+\b", "a bc dé_f, 12 x"), ["bc", "dé_f", "12"]);
        assert_eq!(all(r"[A-Za-z]+", "ab1cd-é"), ["ab", "cd"]);
        assert_eq!(all(r"\b\w+(?:-\w+)*\b", "state-of-the-art x"), ["state-of-the-art", "x"]);
        assert_eq!(all(r"a|ab", "abab"), ["a", "a"]);
        assert_eq!(all(r"(\w)\d", "a1b2c"), ["a", "b"]);
        assert_eq!(all(r"\w{2,3}?", "abcde"), ["ab", "cd"]);
        assert_eq!(all(r"x*", "axb"), ["", "x", "", ""]);
        assert_eq!(all(r"[^\s,]+", "a, b\tc"), ["a", "b", "c"]);
        assert_eq!(all(r"(a+)+b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"), [""; 0]);
        assert_eq!(all(r"\d+$|^\w", "ab 12\n"), ["a", "12"]);
    }

    #[test]
    fn nothing_repeated_is_nothing() {
        let often = (0..5).fold("(?:)".to_owned(), |inner, _| format!("(?:{inner}{{4096}})"));
        assert_eq!(all(&format!("{often}a"), "aba"), ["a", "a"]);
    }

    #[test]
    fn what_cannot_be_meant_exactly_is_refused() {
        let set_of_many = format!("[{}]{{4000}}", "ac".repeat(200));
        for (pattern, what) in [
            (r"a(?=b)", "lookaround"),
            (r"(?<!a)b", "lookaround"),
            (r"(a)\1", "backreference"),
            (r"(?P<x>a)(?P=x)", "backreference"),
            (r"(?i)abc", "flag"),
            (r"(a)(b)", "more than one group"),
            (r"a*+", "possessive"),
            (r"(?>a)", "atomic"),
            (r"(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((a", "nested"),
            (r"(\w{99}){99}", "too long"),
            (&set_of_many, "too many characters"),
            (r"[a", "not closed"),
            (r"(a", "not closed"),
            (r"*a", "nothing to repeat"),
        ] {
            let refused = Pattern::new(pattern).unwrap_err();
            assert!(refused.contains(what), "{pattern}: {refused}");
        }
    }
}
