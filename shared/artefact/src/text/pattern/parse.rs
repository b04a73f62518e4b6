//! From the text of a pattern to instructions.

use std::iter::Peekable;
use std::str::Chars;

use super::{Instruction, MAX_INSTRUCTIONS, MAX_RANGES, Place, Set};

/// How deep groups may be nested.
const MAX_DEPTH: usize = 50;

/// A part of a pattern.
#[derive(Debug)]
pub(super) enum Node {
    One(Set),
    At(Place),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Group(Box<Node>),
    Repeat { node: Box<Node>, low: usize, high: Option<usize>, lazy: bool },
}

/// Parses a pattern; also returns its number of groups.
pub(super) fn parse(pattern: &str) -> Result<(Node, usize), String> {
    let pattern = pattern.strip_prefix("(?u)").unwrap_or(pattern);
    let mut parser = Parser { rest: pattern.chars().peekable(), groups: 0, depth: 0 };
    let node = parser.choice()?;
    match parser.rest.next() {
        None => Ok((node, parser.groups)),
        Some(_) => Err("has a parenthesis that was not opened".to_owned()),
    }
}

struct Parser<'p> {
    rest: Peekable<Chars<'p>>,
    groups: usize,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, c: char) -> bool {
        self.rest.next_if_eq(&c).is_some()
    }

    fn choice(&mut self) -> Result<Node, String> {
        let mut options = vec![self.sequence()?];
        while self.eat('|') {
            options.push(self.sequence()?);
        }
        Ok(if options.len() == 1 { options.remove(0) } else { Node::Choice(options) })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut items = Vec::new();
        while let Some(c) = self.rest.peek().copied() {
            if c == '|' || c == ')' {
                break;
            }
            self.rest.next();
            let item = self.item(c)?;
            items.push(self.repeated(item)?);
        }
        Ok(Node::Sequence(items))
    }

    fn item(&mut self, c: char) -> Result<Node, String> {
        Ok(match c {
            '.' => Node::One(Set { negated: true, ranges: vec![('\n', '\n')], classes: Vec::new() }),
            '^' => Node::At(Place::Start),
            '$' => Node::At(Place::LastLine),
            '[' => Node::One(self.set()?),
            '(' => self.group()?,
            '*' | '+' | '?' => return Err("has nothing to repeat".to_owned()),
            '\\' => match self.rest.next().ok_or("ends in a backslash")? {
                'b' => Node::At(Place::Boundary),
                'B' => Node::At(Place::NoBoundary),
                'A' => Node::At(Place::Start),
                'Z' => Node::At(Place::End),
                class @ ('w' | 'W' | 'd' | 'D' | 's' | 'S') => {
                    Node::One(Set { classes: vec![class], ..Set::default() })
                }
                other => literal(self.escaped(other)?),
            },
            c => literal(c),
        })
    }

    /// The character that an escape means.
    fn escaped(&mut self, c: char) -> Result<char, String> {
        let digits = match c {
            'n' => return Ok('\n'),
            't' => return Ok('\t'),
            'r' => return Ok('\r'),
            'f' => return Ok('\u{c}'),
            'v' => return Ok('\u{b}'),
            'a' => return Ok('\u{7}'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '1'..='9' => return Err("has a backreference".to_owned()),
            c if c.is_ascii_alphanumeric() => return Err(format!("has the escape \\{c}")),
            c => return Ok(c),
        };
        let text: String = self.rest.by_ref().take(digits).collect();
        let code = u32::from_str_radix(&text, 16).ok().filter(|_| text.len() == digits);
        code.and_then(char::from_u32).ok_or_else(|| format!("has the escape \\{c}{text}"))
    }

    fn group(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("is nested too deep".to_owned());
        }
        let mut captures = true;
        if self.eat('?') {
            match self.rest.next() {
                Some(':') => captures = false,
                Some('P') => match self.rest.next() {
                    Some('<') => while self.rest.next().ok_or("has a group that is not closed")? != '>' {},
                    _ => return Err("has a backreference".to_owned()),
                },
                Some('=' | '!' | '<') => return Err("has lookaround".to_owned()),
                Some('>') => return Err("has an atomic group".to_owned()),
                Some('(') => return Err("has a conditional group".to_owned()),
                _ => return Err("has a flag other than (?u) at its start".to_owned()),
            }
        }
        self.groups += usize::from(captures);
        let node = self.choice()?;
        self.depth -= 1;
        if !self.eat(')') {
            return Err("has a group that is not closed".to_owned());
        }
        Ok(if captures { Node::Group(Box::new(node)) } else { node })
    }

    fn set(&mut self) -> Result<Set, String> {
        let open = "has a set that is not closed";
        let mut set = Set { negated: self.eat('^'), ..Set::default() };
        let mut first = true;
        loop {
            let c = self.rest.next().ok_or(open)?;
            if c == ']' && !first {
                return Ok(set);
            }
            first = false;
            let Some(low) = self.member(c, &mut set)? else { continue };
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
                self.rest.next();
                let c = self.rest.next().ok_or(open)?;
                let high = self.member(c, &mut set)?.filter(|high| *high >= low);
                set.ranges.push((low, high.ok_or("has a bad range in a set")?));
            } else {
                set.ranges.push((low, low));
            }
        }
    }

    /// A character of a set; `None` for a class, which is added to it.
    fn member(&mut self, c: char, set: &mut Set) -> Result<Option<char>, String> {
        if c != '\\' {
            return Ok(Some(c));
        }
        match self.rest.next().ok_or("ends in a backslash")? {
            class @ ('w' | 'W' | 'd' | 'D' | 's' | 'S') => {
                set.classes.push(class);
                Ok(None)
            }
            'b' => Ok(Some('\u{8}')),
            other => self.escaped(other).map(Some),
        }
    }

    fn repeated(&mut self, node: Node) -> Result<Node, String> {
        let (low, high) = match self.rest.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => match self.counts() {
                Some(counts) => counts,
                None => return Ok(node),
            },
            _ => return Ok(node),
        };
        self.rest.next();
        if high.is_some_and(|high| high < low) {
            return Err("repeats fewer times than it must".to_owned());
        }
        if self.eat('+') {
            return Err("has a possessive quantifier".to_owned());
        }
        let lazy = self.eat('?');
        if matches!(self.rest.peek(), Some('*' | '+' | '?')) {
            return Err("has a multiple repeat".to_owned());
        }
        Ok(Node::Repeat { node: Box::new(node), low, high, lazy })
    }

    /// The counts in braces, up to the closing brace; `None` when the brace is an ordinary character.
    fn counts(&mut self) -> Option<(usize, Option<usize>)> {
        let mut ahead = self.rest.clone();
        ahead.next();
        let mut text = String::new();
        while let Some(c) = ahead.next_if(|c| c.is_ascii_digit() || *c == ',') {
            text.push(c);
        }
        if ahead.peek() != Some(&'}') || text.is_empty() || text.matches(',').count() > 1 {
            return None;
        }
        self.rest = ahead;
        let number = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
        Some(match text.split_once(',') {
            None => (number(&text), Some(number(&text))),
            Some((low, high)) => {
                (if low.is_empty() { 0 } else { number(low) }, (!high.is_empty()).then(|| number(high)))
            }
        })
    }
}

fn literal(c: char) -> Node {
    Node::One(Set { ranges: vec![(c, c)], ..Set::default() })
}

/// Appends the instructions of a part.
pub(super) fn compile(node: &Node, program: &mut Vec<Instruction>) -> Result<(), String> {
    if program.len() > MAX_INSTRUCTIONS {
        return Err("is too long".to_owned());
    }
    match node {
        Node::One(set) if set.ranges.len() > MAX_RANGES => return Err("has a set of too many characters".to_owned()),
        Node::One(set) => program.push(Instruction::One(set.clone())),
        Node::At(place) => program.push(Instruction::At(*place)),
        Node::Sequence(nodes) => nodes.iter().try_for_each(|node| compile(node, program))?,
        Node::Group(node) => {
            program.push(Instruction::Save(2));
            compile(node, program)?;
            program.push(Instruction::Save(3));
        }
        Node::Choice(options) => choice(options, program)?,
        Node::Repeat { node, low, high, lazy } => {
            if (*low).max(high.unwrap_or(0)) > MAX_INSTRUCTIONS {
                return Err("is too long".to_owned());
            }
            for _ in 0..*low {
                let before = program.len();
                compile(node, program)?;
                // what is nothing once is nothing however often
                if program.len() == before {
                    break;
                }
            }
            match high {
                None => {
                    let split = program.len();
                    program.push(Instruction::Jump(0));
                    compile(node, program)?;
                    program.push(Instruction::Jump(split));
                    program[split] = branch(split + 1, program.len(), *lazy);
                }
                Some(high) => {
                    let mut splits = Vec::new();
                    for _ in *low..*high {
                        splits.push(program.len());
                        program.push(Instruction::Jump(0));
                        compile(node, program)?;
                    }
                    let end = program.len();
                    splits.into_iter().for_each(|at| program[at] = branch(at + 1, end, *lazy));
                }
            }
        }
    }
    Ok(())
}

fn branch(inside: usize, after: usize, lazy: bool) -> Instruction {
    if lazy { Instruction::Split(after, inside) } else { Instruction::Split(inside, after) }
}

fn choice(options: &[Node], program: &mut Vec<Instruction>) -> Result<(), String> {
    let mut jumps = Vec::new();
    for (i, option) in options.iter().enumerate() {
        let split = program.len();
        if i + 1 < options.len() {
            program.push(Instruction::Jump(0));
        }
        compile(option, program)?;
        if i + 1 < options.len() {
            jumps.push(program.len());
            program.push(Instruction::Jump(0));
            program[split] = Instruction::Split(split + 1, program.len());
        }
    }
    let end = program.len();
    jumps.into_iter().for_each(|at| program[at] = Instruction::Jump(end));
    Ok(())
}
