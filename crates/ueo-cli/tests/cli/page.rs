//! Pages as the tests read them.

use std::collections::BTreeMap;
use std::fs;

use html5gum::{Token, Tokenizer};

use crate::support::Workplace;

/// Elements without an end tag.
const VOID: [&str; 3] = ["meta", "img", "br"];

/// A page, taken apart by the rules of the HTML standard.
pub struct Page {
    source: String,
    /// Every start tag with its attributes.
    pub elements: Vec<(String, BTreeMap<String, String>)>,
    /// Text outside of the style sheet, elements apart by spaces.
    pub text: String,
}

impl Page {
    /// Reads a page, whose elements must be nested properly.
    pub fn read(place: &Workplace, path: &str) -> Self {
        let source = fs::read_to_string(place.path(path)).unwrap();
        let (mut elements, mut text, mut open) = (Vec::new(), String::new(), Vec::<String>::new());
        let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        for Ok(token) in Tokenizer::new(source.as_str()) {
            match token {
                Token::StartTag(tag) => {
                    let name = string(&tag.name);
                    let attributes = tag.attributes.iter();
                    let attributes = attributes.map(|(name, value)| (string(name), string(value)));
                    elements.push((name.clone(), attributes.collect()));
                    if !tag.self_closing && !VOID.contains(&name.as_str()) {
                        open.push(name);
                    }
                    text.push(' ');
                }
                Token::EndTag(tag) => {
                    assert_eq!(open.pop(), Some(string(&tag.name)), "in {path}");
                    text.push(' ');
                }
                Token::String(content) if open.last().is_none_or(|name| name != "style") => {
                    text.push_str(&string(&content));
                }
                Token::Error(error) => panic!("{path}: {error:?}"),
                _ => {}
            }
        }
        assert!(open.is_empty(), "{path} leaves {open:?} open");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            source,
            elements,
            text,
        }
    }

    /// Number of elements of a kind.
    pub fn count(&self, name: &str) -> usize {
        self.elements
            .iter()
            .filter(|(found, _)| found == name)
            .count()
    }

    /// Addresses of the sections.
    pub fn ids(&self) -> Vec<&str> {
        let sections = self.elements.iter().filter(|(name, _)| name == "section");
        sections
            .map(|(_, attributes)| attributes["id"].as_str())
            .collect()
    }

    /// Expects pieces of text.
    #[track_caller]
    pub fn shows(&self, pieces: &[&str]) {
        for piece in pieces {
            assert!(self.text.contains(piece), "{piece:?} in\n{}", self.text);
        }
    }

    /// Nothing is loaded, nothing is executed.
    pub fn expect_self_contained(&self) {
        for forbidden in [
            "script", "link", "iframe", "object", "embed", "base", "form", "use", "image",
        ] {
            assert_eq!(self.count(forbidden), 0, "<{forbidden}>");
        }
        for (name, attributes) in &self.elements {
            for (attribute, value) in attributes {
                assert!(!attribute.starts_with("on"), "{attribute} of <{name}>");
                match attribute.as_str() {
                    "src" => assert!(value.starts_with("data:image/jpeg;base64,")),
                    "href" => assert!(value.starts_with('#')),
                    "style" => assert!(!value.contains("url("), "{value}"),
                    _ => {}
                }
            }
        }
        let style = self.source.split_once("<style>").unwrap().1;
        let style = style.split_once("</style>").unwrap().0;
        assert!(!style.contains("url(") && !style.contains("@import"));
        assert!(!self.source.contains("http://") && !self.source.contains("https://"));
    }
}
