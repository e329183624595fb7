//! The part of Python's pickle format that PyTorch checkpoints use, without running any of it.
//!
//! Source: CPython `Lib/pickle.py` (protocols 2 to 4) and PyTorch `torch/serialization.py`. Only
//! dictionaries, lists, tuples, numbers, strings and `torch._utils._rebuild_tensor_v2` are understood; any
//! other global is refused.

use std::collections::HashMap;
use std::fmt;

/// One unpickled value; containers are indices into [`Pickle`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(String),
    /// `module name` of a class or function; named, never called.
    Global(String),
    /// A list or tuple, see [`Pickle::items`].
    Sequence(usize),
    /// A dictionary, see [`Pickle::entries`].
    Dict(usize),
    /// A storage, see [`Pickle::storage`].
    Storage(usize),
    /// A tensor, see [`Pickle::tensor`].
    Tensor(usize),
}

/// Where a tensor's numbers lie in the archive.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageRef {
    /// Class name, such as `FloatStorage`.
    pub class: String,
    /// Name of the archive's entry under `data/`.
    pub key: String,
    /// How many elements it holds.
    pub num_elements: usize,
}

/// A tensor as a strided view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRef {
    /// The storage.
    pub storage: StorageRef,
    /// First element.
    pub offset: usize,
    /// Size of each dimension.
    pub shape: Vec<usize>,
    /// Elements from one index to the next, per dimension.
    pub strides: Vec<usize>,
}

/// An unpickled document.
#[derive(Debug)]
pub struct Pickle {
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    storages: Vec<StorageRef>,
    tensors: Vec<TensorRef>,
    root: Value,
}

impl Pickle {
    /// Reads a document.
    ///
    /// # Errors
    /// [`PickleError`] for truncated data, opcodes or globals outside the subset, and references that lead
    /// nowhere.
    pub fn parse(bytes: &[u8]) -> Result<Self, PickleError> {
        let mut machine = Machine {
            input: Input { bytes, at: 0 },
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            out: Self {
                sequences: Vec::new(),
                dicts: Vec::new(),
                storages: Vec::new(),
                tensors: Vec::new(),
                root: Value::None,
            },
        };
        while machine.step()? {}
        Ok(machine.out)
    }

    /// The document itself.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// Items of a list or tuple; empty for anything else.
    pub fn items(&self, value: &Value) -> &[Value] {
        match value {
            Value::Sequence(index) => &self.sequences[*index],
            _ => &[],
        }
    }

    /// Entries of a dictionary in order; `None` for anything else.
    pub fn entries(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(index) => Some(&self.dicts[*index]),
            _ => None,
        }
    }

    /// The entry of a dictionary under a string key.
    pub fn entry(&self, value: &Value, key: &str) -> Option<&Value> {
        let found = |(k, _): &&(Value, Value)| matches!(k, Value::Str(name) if name == key);
        self.entries(value)?.iter().rfind(found).map(|(_, v)| v)
    }

    /// A tensor's place; `None` for anything else.
    pub fn tensor(&self, value: &Value) -> Option<&TensorRef> {
        match value {
            Value::Tensor(index) => Some(&self.tensors[*index]),
            _ => None,
        }
    }

    /// A storage's place; `None` for anything else.
    pub fn storage(&self, value: &Value) -> Option<&StorageRef> {
        match value {
            Value::Storage(index) => Some(&self.storages[*index]),
            _ => None,
        }
    }
}

/// Why a pickle was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PickleError {
    /// The data ends inside an instruction.
    Truncated,
    /// An instruction outside the subset.
    Opcode {
        /// The instruction's byte.
        code: u8,
        /// Where it stands.
        offset: usize,
    },
    /// A class or function that no checkpoint of ours needs.
    Global {
        /// `module name`.
        name: String,
    },
    /// An instruction met operands of another type than it needs.
    Malformed {
        /// What was expected.
        expected: &'static str,
        /// Where the instruction stands.
        offset: usize,
    },
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the pickle ends too early"),
            Self::Opcode { code, offset } => {
                write!(f, "pickle instruction {code:#04x} at {offset} is not supported")
            }
            Self::Global { name } => write!(f, "the pickle refers to {name}, which is not supported"),
            Self::Malformed { expected, offset } => write!(f, "the pickle lacks {expected} at {offset}"),
        }
    }
}

impl core::error::Error for PickleError {}

/// Reads bytes with every access checked.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(count).ok_or(PickleError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(PickleError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.take(N)?.try_into().map_err(|_| PickleError::Truncated)
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<usize, PickleError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn line(&mut self) -> Result<String, PickleError> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|b| *b == b'\n').ok_or(PickleError::Truncated)?;
        let line = self.take(length)?;
        self.at += 1;
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}

/// The stack machine.
struct Machine<'a> {
    input: Input<'a>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<usize, Value>,
    out: Pickle,
}

impl Machine<'_> {
    /// Runs one instruction; false at the end of the document.
    fn step(&mut self) -> Result<bool, PickleError> {
        let offset = self.input.at;
        let code = self.input.byte()?;
        match code {
            b'.' => {
                self.out.root = self.pop("a result")?;
                return Ok(false);
            }
            0x80 => _ = self.input.byte()?,
            0x95 => _ = self.input.take(8)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => _ = self.pop("a value")?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.step_memo(code)?,
            b'}' | b']' | b')' | b't' | 0x85..=0x87 | b'a' | b'e' | b's' | b'u' => {
                self.step_container(code)?
            }
            b'c' | 0x93 | b'R' | b'b' | b'Q' => self.step_object(code)?,
            _ => {
                let value = self.scalar(code, offset)?;
                self.stack.push(value);
            }
        }
        Ok(true)
    }

    fn step_memo(&mut self, code: u8) -> Result<(), PickleError> {
        let key = match code {
            b'q' | b'h' => usize::from(self.input.byte()?),
            0x94 => self.memo.len(),
            _ => self.input.u32()?,
        };
        if matches!(code, b'h' | b'j') {
            let value = self.memo.get(&key).cloned().ok_or(self.malformed("a memoised value"))?;
            self.stack.push(value);
        } else {
            let value = self.stack.last().cloned().ok_or(self.malformed("a value to memoise"))?;
            self.memo.insert(key, value);
        }
        Ok(())
    }

    fn step_container(&mut self, code: u8) -> Result<(), PickleError> {
        match code {
            b'}' => {
                self.out.dicts.push(Vec::new());
                self.stack.push(Value::Dict(self.out.dicts.len() - 1));
            }
            b']' | b')' => self.push_sequence(Vec::new()),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_sequence(items);
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let from = self.stack.len().checked_sub(count).ok_or(self.malformed("tuple items"))?;
                let items = self.stack.split_off(from);
                self.push_sequence(items);
            }
            b'a' => {
                let item = self.pop("a list item")?;
                self.extend_list(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend_list(items)?;
            }
            b's' => {
                let value = self.pop("a value")?;
                let key = self.pop("a key")?;
                self.extend_dict(vec![key, value])?;
            }
            _ => {
                let items = self.pop_to_mark()?;
                self.extend_dict(items)?;
            }
        }
        Ok(())
    }

    fn step_object(&mut self, code: u8) -> Result<(), PickleError> {
        match code {
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.stack.push(Value::Global(format!("{module} {name}")));
            }
            0x93 => {
                let (name, module) = (self.pop("a name")?, self.pop("a module")?);
                let (Value::Str(name), Value::Str(module)) = (name, module) else {
                    return Err(self.malformed("a global's name"));
                };
                self.stack.push(Value::Global(format!("{module} {name}")));
            }
            b'R' => {
                let arguments = self.pop("arguments")?;
                let callable = self.pop("a callable")?;
                let value = self.reduce(&callable, &arguments)?;
                self.stack.push(value);
            }
            // An OrderedDict's `_metadata`: nothing that changes a number.
            b'b' => _ = self.pop("a state")?,
            _ => {
                let id = self.pop("a storage")?;
                let storage = self.persistent(&id)?;
                self.out.storages.push(storage);
                self.stack.push(Value::Storage(self.out.storages.len() - 1));
            }
        }
        Ok(())
    }

    fn scalar(&mut self, code: u8, offset: usize) -> Result<Value, PickleError> {
        Ok(match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.input.array()?))),
            b'K' => Value::Int(i64::from(self.input.byte()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.input.array()?))),
            0x8a => {
                let count = usize::from(self.input.byte()?);
                long(self.input.take(count)?).ok_or(self.malformed("an integer of 64 bits"))?
            }
            b'G' => Value::Float(f64::from_be_bytes(self.input.array()?)),
            b'X' | 0x8c | b'U' | b'T' => {
                let short = matches!(code, 0x8c | b'U');
                let length = if short { usize::from(self.input.byte()?) } else { self.input.u32()? };
                let text = self.input.take(length)?;
                Value::Str(String::from_utf8(text.to_vec()).map_err(|_| self.malformed("UTF-8"))?)
            }
            _ => return Err(PickleError::Opcode { code, offset }),
        })
    }

    /// What a call in the document stands for.
    fn reduce(&mut self, callable: &Value, arguments: &Value) -> Result<Value, PickleError> {
        let Value::Global(name) = callable else { return Err(self.malformed("a callable")) };
        let items = self.out.items(arguments).to_vec();
        match name.as_str() {
            "collections OrderedDict" => {
                self.out.dicts.push(Vec::new());
                Ok(Value::Dict(self.out.dicts.len() - 1))
            }
            "torch._utils _rebuild_tensor_v2" => {
                let tensor = self.rebuild_tensor(&items)?;
                self.out.tensors.push(tensor);
                Ok(Value::Tensor(self.out.tensors.len() - 1))
            }
            "torch._utils _rebuild_parameter" => items.first().cloned().ok_or(self.malformed("a parameter")),
            _ => Err(PickleError::Global { name: name.clone() }),
        }
    }

    fn rebuild_tensor(&self, items: &[Value]) -> Result<TensorRef, PickleError> {
        let [storage, offset, shape, strides, ..] = items else { return Err(self.malformed("a tensor")) };
        let storage = self.out.storage(storage).ok_or(self.malformed("a tensor's storage"))?.clone();
        let size = |value: &Value| match value {
            Value::Int(n) => usize::try_from(*n).map_err(|_| self.malformed("a size that is not negative")),
            _ => Err(self.malformed("a size")),
        };
        let sizes = |value: &Value| self.out.items(value).iter().map(size).collect::<Result<Vec<_>, _>>();
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(self.malformed("one stride per dimension"));
        }
        Ok(TensorRef { storage, offset: size(offset)?, shape, strides })
    }

    fn persistent(&self, id: &Value) -> Result<StorageRef, PickleError> {
        match self.out.items(id) {
            [Value::Str(kind), Value::Global(class), Value::Str(key), _, Value::Int(count)]
                if kind == "storage" =>
            {
                let class = class.rsplit(' ').next().unwrap_or(class).to_string();
                let num_elements = usize::try_from(*count).map_err(|_| self.malformed("a storage's size"))?;
                Ok(StorageRef { class, key: key.clone(), num_elements })
            }
            _ => Err(self.malformed("a storage")),
        }
    }

    fn push_sequence(&mut self, items: Vec<Value>) {
        self.out.sequences.push(items);
        self.stack.push(Value::Sequence(self.out.sequences.len() - 1));
    }

    fn extend_list(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        let Some(Value::Sequence(index)) = self.stack.last() else { return Err(self.malformed("a list")) };
        self.out.sequences[*index].extend(items);
        Ok(())
    }

    fn extend_dict(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        let Some(Value::Dict(index)) = self.stack.last() else { return Err(self.malformed("a dictionary")) };
        let pairs = items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
        self.out.dicts[*index].extend(pairs);
        Ok(())
    }

    fn pop(&mut self, expected: &'static str) -> Result<Value, PickleError> {
        self.stack.pop().ok_or(self.malformed(expected))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let mark = self.marks.pop().ok_or(self.malformed("a mark"))?;
        if mark > self.stack.len() {
            return Err(self.malformed("values above the mark"));
        }
        Ok(self.stack.split_off(mark))
    }

    fn malformed(&self, expected: &'static str) -> PickleError {
        PickleError::Malformed { expected, offset: self.input.at }
    }
}

/// A little-endian two's complement integer of at most eight bytes.
fn long(bytes: &[u8]) -> Option<Value> {
    if bytes.len() > 8 {
        return None;
    }
    let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
    let mut all = [fill; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Some(Value::Int(i64::from_le_bytes(all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({'a': [1, -2, 3.5], 'b': (True, None, 2**40)}, protocol=2)`
    const DOCUMENT: &[u8] = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00bq\x03\x88N\x8a\x06\x00\x00\x00\x00\x00\x01\x87q\x04u.";

    #[test]
    fn reads_nested_containers() {
        let pickle = Pickle::parse(DOCUMENT).unwrap();
        let list = pickle.items(pickle.entry(pickle.root(), "a").unwrap());
        assert_eq!(list, [Value::Int(1), Value::Int(-2), Value::Float(3.5)]);
        let tuple = pickle.items(pickle.entry(pickle.root(), "b").unwrap());
        assert_eq!(tuple, [Value::Bool(true), Value::None, Value::Int(1 << 40)]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for length in 0..DOCUMENT.len() {
            assert!(Pickle::parse(&DOCUMENT[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn no_byte_flip_panics() {
        for index in 0..DOCUMENT.len() {
            for bit in 0..8 {
                let mut bytes = DOCUMENT.to_vec();
                bytes[index] ^= 1 << bit;
                _ = Pickle::parse(&bytes);
            }
        }
    }

    #[test]
    fn other_globals_are_refused() {
        let error = Pickle::parse(b"\x80\x02cos\nsystem\n)R.").unwrap_err();
        assert_eq!(error, PickleError::Global { name: "os system".to_string() });
    }
}
