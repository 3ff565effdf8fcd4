//! GraphQL as it is written: operations, selections, arguments and variables; fragments only in line.

use serde_json::{Map, Number, Value};

/// A field that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    /// The name in the answer.
    pub(super) alias: String,
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) fields: Vec<Self>,
    /// Where it stands, counted from 1.
    pub(super) line: usize,
    pub(super) column: usize,
}

/// An operation.
#[derive(Debug, PartialEq)]
pub(super) struct Operation {
    /// `query` or `mutation`.
    pub(super) kind: String,
    pub(super) fields: Vec<Field>,
}

/// What is wrong with the text, and where.
#[derive(Debug, PartialEq)]
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(String),
    Mark(char),
    Spread,
    End,
}

struct Parser<'a> {
    tokens: Vec<(Token, usize, usize)>,
    at: usize,
    variables: &'a Value,
}

/// Reads the one operation of a document.
pub(super) fn parse(text: &str, variables: &Value) -> Result<Operation, Mistake> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, variables };
    let mut kind = "query".to_owned();
    if let Token::Name(word) = parser.peek().clone() {
        kind = word;
        parser.at += 1;
        if matches!(parser.peek(), Token::Name(_)) {
            parser.at += 1;
        }
        if parser.peek() == &Token::Mark('(') {
            // The declarations of variables: their types are not checked.
            while parser.peek() != &Token::Mark(')') {
                parser.take()?;
            }
            parser.at += 1;
        }
    }
    let fields = parser.selection()?;
    match parser.peek() {
        Token::End => Ok(Operation { kind, fields }),
        _ => Err(parser.unexpected()),
    }
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _, _)| token)
    }

    fn take(&mut self) -> Result<Token, Mistake> {
        match self.peek().clone() {
            Token::End => Err(self.unexpected()),
            token => {
                self.at += 1;
                Ok(token)
            }
        }
    }

    fn place(&self) -> (usize, usize) {
        self.tokens.get(self.at).or(self.tokens.last()).map_or((1, 1), |(_, line, column)| (*line, *column))
    }

    fn unexpected(&self) -> Mistake {
        let (line, column) = self.place();
        let message = match self.peek() {
            Token::End => "Unexpected end of document".to_owned(),
            Token::Name(word) => format!("Parse error on {word:?} (IDENTIFIER) at [{line}, {column}]"),
            Token::Text(text) => format!("Parse error on {text:?} (STRING) at [{line}, {column}]"),
            Token::Number(number) => format!("Parse error on {number:?} (INT) at [{line}, {column}]"),
            Token::Mark(mark) => format!("Parse error on {:?} at [{line}, {column}]", mark.to_string()),
            Token::Spread => format!("Parse error on \"...\" (ELLIPSIS) at [{line}, {column}]"),
        };
        Mistake { message, line, column }
    }

    fn expect(&mut self, mark: char) -> Result<(), Mistake> {
        if self.peek() == &Token::Mark(mark) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected())
    }

    fn name(&mut self) -> Result<String, Mistake> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn selection(&mut self) -> Result<Vec<Field>, Mistake> {
        self.expect('{')?;
        let mut fields = Vec::new();
        while self.peek() != &Token::Mark('}') {
            if self.peek() == &Token::Spread {
                // `... on Type { … }`: every type here has one kind of thing only.
                self.at += 1;
                if self.name()? != "on" {
                    return Err(self.unexpected());
                }
                self.name()?;
                fields.extend(self.selection()?);
            } else {
                fields.push(self.field()?);
            }
        }
        self.at += 1;
        Ok(fields)
    }

    fn field(&mut self) -> Result<Field, Mistake> {
        let (line, column) = self.place();
        let mut alias = self.name()?;
        let mut name = alias.clone();
        if self.peek() == &Token::Mark(':') {
            self.at += 1;
            name = self.name()?;
        }
        if alias.is_empty() {
            alias.clone_from(&name);
        }
        let mut arguments = Map::new();
        if self.peek() == &Token::Mark('(') {
            self.at += 1;
            while self.peek() != &Token::Mark(')') {
                let key = self.name()?;
                self.expect(':')?;
                arguments.insert(key, self.value()?);
            }
            self.at += 1;
        }
        let fields = if self.peek() == &Token::Mark('{') { self.selection()? } else { Vec::new() };
        Ok(Field { alias, name, arguments, fields, line, column })
    }

    fn value(&mut self) -> Result<Value, Mistake> {
        let value = match self.peek().clone() {
            Token::Text(text) => Value::String(text),
            Token::Number(number) => number.parse::<Number>().map_or(Value::String(number), Value::Number),
            Token::Name(word) => match word.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                // A member of an enumeration.
                _ => Value::String(word),
            },
            Token::Mark('$') => {
                self.at += 1;
                let name = self.name()?;
                return Ok(self.variables.get(&name).cloned().unwrap_or_default());
            }
            Token::Mark('[') => {
                self.at += 1;
                let mut items = Vec::new();
                while self.peek() != &Token::Mark(']') {
                    items.push(self.value()?);
                }
                Value::Array(items)
            }
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(value)
    }
}

fn tokens(text: &str) -> Result<Vec<(Token, usize, usize)>, Mistake> {
    let mut found = Vec::new();
    for (index, row) in text.lines().enumerate() {
        let letters: Vec<char> = row.chars().collect();
        let mut at = 0;
        while let Some(letter) = letters.get(at).copied() {
            let start = at;
            let token = match letter {
                '#' => break,
                ' ' | '\t' | ',' | '\r' | '\u{feff}' => {
                    at += 1;
                    continue;
                }
                '.' if letters[at..].starts_with(&['.', '.', '.']) => {
                    at += 3;
                    Token::Spread
                }
                '"' => {
                    let (token, end) = quoted(&letters, at + 1);
                    at = end;
                    token
                }
                _ if letter.is_ascii_alphabetic() || letter == '_' => {
                    at += run(&letters[at..], |l| l.is_ascii_alphanumeric() || l == '_');
                    Token::Name(letters[start..at].iter().collect())
                }
                _ if letter.is_ascii_digit() || letter == '-' => {
                    at += run(&letters[at..], |l| l.is_ascii_digit() || "-.eE+".contains(l));
                    Token::Number(letters[start..at].iter().collect())
                }
                '{' | '}' | '(' | ')' | '[' | ']' | ':' | '$' | '!' | '=' | '@' | '|' => {
                    at += 1;
                    Token::Mark(letter)
                }
                _ => {
                    let (line, column) = (index + 1, start + 1);
                    let message =
                        format!("Parse error on bad Unicode escape sequence or character {letter:?}");
                    return Err(Mistake { message, line, column });
                }
            };
            found.push((token, index + 1, start + 1));
        }
    }
    Ok(found)
}

fn run(letters: &[char], fits: impl Fn(char) -> bool) -> usize {
    letters.iter().take_while(|letter| fits(**letter)).count()
}

/// A string in quotes, and where it ends.
fn quoted(letters: &[char], mut at: usize) -> (Token, usize) {
    let mut text = String::new();
    while let Some(letter) = letters.get(at).copied() {
        at += 1;
        match letter {
            '"' => break,
            '\\' => {
                let escaped = letters.get(at).copied().unwrap_or('\\');
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                });
                at += 1;
            }
            other => text.push(other),
        }
    }
    (Token::Text(text), at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_aliases_arguments_and_variables_are_read() {
        let text = "query Agents($path: ID!, $first: Int = 5) {\n  p: project(fullPath: $path) { id }\n}";
        let operation = parse(text, &json!({ "path": "a/b" })).unwrap();
        let field = &operation.fields[0];
        assert_eq!((field.alias.as_str(), field.name.as_str()), ("p", "project"));
        assert_eq!((&field.arguments["fullPath"], field.line, field.column), (&json!("a/b"), 2, 3));
        assert_eq!(field.fields[0].name, "id");
        let inline = parse(r#"{ a(x: 1, y: "t\"", z: [true]) { ... on B { c } } }"#, &Value::Null).unwrap();
        let field = &inline.fields[0];
        assert_eq!(Value::Object(field.arguments.clone()), json!({ "x": 1, "y": "t\"", "z": [true] }));
        assert_eq!(field.fields[0].name, "c");
    }

    #[test]
    fn a_mistake_says_where() {
        let mistake = parse("{ project(fullPath: ) { id } }", &Value::Null).unwrap_err();
        assert_eq!((mistake.line, mistake.column), (1, 21));
        assert!(parse("{ project { id }", &Value::Null).is_err());
        assert!(parse("", &Value::Null).is_err());
    }
}
