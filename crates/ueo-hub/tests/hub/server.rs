//! A hub on this machine: it answers as the Hugging Face Hub does, and fails as it is told to.
//!
//! What it answers is what the Python client asks for, too (`tools/hub/cache.py` uses it through the example
//! `local_hub`).

#![allow(dead_code, reason = "every program that includes it uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Commit of every repository's newest state.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is sent at once, in bytes.
const PIECE_BYTES: usize = 4096;
/// Pause behind each piece of a slow answer.
const PIECE_PAUSE: Duration = Duration::from_millis(20);

/// A request that the server was asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
    /// Whether it came to the file server that the hub redirects to.
    pub to_cdn: bool,
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Only this token is let in.
    pub token: Option<String>,
    /// Whether the owner lets nobody in.
    pub gated: bool,
    /// Files that are listed and not given.
    pub missing: Vec<String>,
    /// Bytes of a large file after which the connection breaks, one number for each connection.
    pub breaks: Vec<usize>,
    /// Whether large files come with another content than the hub lists.
    pub damaged: bool,
    /// Whether large files come as a whole only.
    pub without_ranges: bool,
    /// Whether large files come a little at a time.
    pub slow: bool,
    /// Whether everything fails with this status.
    pub status: Option<u16>,
}

/// A repository.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// The files of a directory, without those below it.
    pub fn of(directory: &Path) -> Self {
        let mut repository = Self {
            commit: COMMIT.to_owned(),
            ..Self::default()
        };
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                repository.add(
                    path.file_name().unwrap().to_str().unwrap(),
                    fs::read(&path).unwrap(),
                );
            }
        }
        repository
    }

    pub fn add(&mut self, name: &str, content: impl Into<Vec<u8>>) -> &mut Self {
        self.files.insert(name.to_owned(), content.into());
        self
    }
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    faults: Faults,
    requests: Vec<Request>,
    prefix: String,
    cdn: String,
}

/// A running hub, with a file server at another port. It ends with the process.
#[derive(Clone, Debug)]
pub struct Server {
    /// What `HF_ENDPOINT` is to be.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts with one repository.
    pub fn start(name: &str, repository: Repository) -> Self {
        Self::start_below("", name, repository)
    }

    /// Starts below a path, as mirrors behind a proxy are.
    pub fn start_below(prefix: &str, name: &str, repository: Repository) -> Self {
        let (hub, cdn) = (listener(), listener());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            repositories: BTreeMap::from([(name.to_owned(), repository)]),
            prefix: prefix.to_owned(),
            cdn: address(&cdn),
            ..State::default()
        };
        let server = Self {
            endpoint: format!("{}{prefix}", address(&hub)),
            state: Arc::new(Mutex::new(state)),
        };
        server.serve(hub, false);
        server.serve(cdn, true);
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes something go wrong from now on.
    pub fn fail(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Changes a repository.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Repository)) {
        change(self.state().repositories.get_mut(name).unwrap());
    }

    /// What it was asked since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().requests)
    }

    fn serve(&self, listener: TcpListener, is_cdn: bool) {
        let server = self.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let server = server.clone();
                // A client that goes away is no concern of the server's.
                thread::spawn(move || connection.map(|stream| server.answer(stream, is_cdn)));
            }
        });
    }

    fn answer(&self, mut stream: TcpStream, is_cdn: bool) -> std::io::Result<()> {
        let mut request = read_request(&stream)?;
        request.to_cdn = is_cdn;
        let mut answer = {
            let mut state = self.state();
            state.requests.push(request.clone());
            match is_cdn {
                true => state.file(&request),
                false => state.hub(&request),
            }
        };
        let mut head = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", answer.status);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", answer.body.len());
        stream.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            if let Some(bytes) = answer.breaks_after {
                answer.body.truncate(bytes);
            }
            for piece in answer.body.chunks(PIECE_BYTES) {
                stream.write_all(piece)?;
                if answer.slow {
                    thread::sleep(PIECE_PAUSE);
                }
            }
        }
        stream.flush()?;
        stream.shutdown(Shutdown::Both)
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split(' ');
    let mut request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        ..Request::default()
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = Some(value.trim().to_owned());
        match name.to_lowercase().as_str() {
            "authorization" => request.authorization = value,
            "range" => request.range = value,
            _ => {}
        }
    }
    Ok(request)
}

#[derive(Debug, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    breaks_after: Option<usize>,
    slow: bool,
}

impl Answer {
    fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn refusal(status: u16, code: &str, message: &str) -> Self {
        let refusal = Self::of(status, "").with("X-Error-Message", message);
        match code {
            "" => refusal,
            code => refusal.with("X-Error-Code", code),
        }
    }
}

/// The digest that names a file in git.
pub fn git_blob(content: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(content);
    digits(&hasher.finalize())
}

pub fn sha256(content: &[u8]) -> String {
    digits(&Sha256::digest(content))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the hub keeps a file outside of git.
pub fn is_large(name: &str) -> bool {
    [".safetensors", ".bin", ".h5"]
        .iter()
        .any(|end| name.ends_with(end))
}

impl State {
    /// What the hub itself answers.
    fn hub(&self, request: &Request) -> Answer {
        if let Some(status) = self.faults.status {
            return Answer::refusal(status, "", "out of order");
        }
        if let Some(token) = &self.faults.token
            && request.authorization.as_deref() != Some(&format!("Bearer {token}"))
        {
            return match request.authorization {
                None => Answer::refusal(401, "RepoNotFound", "Repository not found"),
                Some(_) => Answer::refusal(401, "", "Invalid credentials in Authorization header"),
            };
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let Some(path) = path.strip_prefix(&self.prefix) else {
            return Answer::of(404, "no such page");
        };
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["api", "models", owner, name] => self.list(owner, name, "main", "revision"),
            [
                "api",
                "models",
                owner,
                name,
                kind @ ("revision" | "tree"),
                revision,
            ] => self.list(owner, name, revision, kind),
            [owner, name, "resolve", revision, file @ ..] => {
                self.resolve(owner, name, revision, &file.join("/"))
            }
            _ => Answer::of(404, "no such page"),
        }
    }

    fn repository(&self, owner: &str, name: &str, revision: &str) -> Result<&Repository, Answer> {
        let found = self.repositories.get(&format!("{owner}/{name}"));
        let Some(repository) = found else {
            return Err(Answer::refusal(404, "RepoNotFound", "Repository not found"));
        };
        if revision != "main" && revision != "v1" && revision != repository.commit {
            return Err(Answer::refusal(404, "RevisionNotFound", "Invalid rev id"));
        }
        Ok(repository)
    }

    fn list(&self, owner: &str, name: &str, revision: &str, kind: &str) -> Answer {
        let repository = match self.repository(owner, name, revision) {
            Ok(repository) => repository,
            Err(refusal) => return refusal,
        };
        let entries = repository.files.iter().map(|(path, content)| {
            let (size, blob) = (content.len(), git_blob(content));
            // As the hub does, a digest stands under another name in each list.
            let (path_key, blob_key, sha_key, start) = match kind {
                "tree" => ("path", "oid", "oid", "\"type\": \"file\", "),
                _ => ("rfilename", "blobId", "sha256", ""),
            };
            let lfs = match is_large(path) {
                true => format!(
                    ", \"lfs\": {{\"{sha_key}\": \"{}\", \"size\": {size}, \"pointerSize\": 130}}",
                    sha256(content)
                ),
                false => String::new(),
            };
            format!("{{{start}\"{path_key}\": \"{path}\", \"size\": {size}, \"{blob_key}\": \"{blob}\"{lfs}}}")
        });
        let entries = entries.collect::<Vec<_>>().join(", ");
        let json = match kind {
            "tree" => format!("[{entries}]"),
            _ => format!(
                "{{\"id\": \"{owner}/{name}\", \"sha\": \"{}\", \"siblings\": [{entries}]}}",
                repository.commit
            ),
        };
        Answer::of(200, json).with("Content-Type", "application/json")
    }

    fn resolve(&self, owner: &str, name: &str, revision: &str, file: &str) -> Answer {
        let repository = match self.repository(owner, name, revision) {
            Ok(repository) => repository,
            Err(refusal) => return refusal,
        };
        let commit = repository.commit.clone();
        if self.faults.gated {
            return Answer::refusal(403, "GatedRepo", "Access to this model is restricted");
        }
        let missing = self.faults.missing.iter().any(|missing| missing == file);
        match repository.files.get(file) {
            Some(content) if !missing && is_large(file) => {
                let digest = sha256(content);
                Answer::of(302, "")
                    .with("Location", format!("{}/{digest}?signed", self.cdn))
                    .with("X-Linked-Etag", format!("\"{digest}\""))
                    .with("X-Linked-Size", content.len().to_string())
                    .with("X-Repo-Commit", commit)
            }
            Some(content) if !missing => Answer::of(200, content.clone())
                .with("ETag", format!("\"{}\"", git_blob(content)))
                .with("X-Repo-Commit", commit),
            _ => Answer::refusal(404, "EntryNotFound", "Entry not found")
                .with("X-Repo-Commit", commit),
        }
    }

    /// What the file server answers: large files by their digest.
    fn file(&mut self, request: &Request) -> Answer {
        let digest = request.path.trim_start_matches('/').split('?').next();
        let all = self
            .repositories
            .values()
            .flat_map(|repository| repository.files.values());
        let found = all
            .into_iter()
            .find(|content| Some(sha256(content).as_str()) == digest)
            .cloned();
        let Some(mut content) = found else {
            return Answer::of(404, "no such file");
        };
        if self.faults.damaged {
            content[0] ^= 1;
        }
        let size = content.len();
        let from = match &request.range {
            Some(range) if !self.faults.without_ranges => {
                let from = range.trim_start_matches("bytes=").trim_end_matches('-');
                from.parse::<usize>().unwrap()
            }
            _ => 0,
        };
        if from >= size {
            return Answer::of(416, "").with("Content-Range", format!("bytes */{size}"));
        }
        let breaks = &mut self.faults.breaks;
        let breaks_after = match request.method.as_str() {
            "GET" if !breaks.is_empty() => Some(breaks.remove(0)),
            _ => None,
        };
        let mut answer = match from {
            0 => Answer::of(200, content),
            from => Answer::of(206, &content[from..])
                .with("Content-Range", format!("bytes {from}-{}/{size}", size - 1)),
        };
        answer.breaks_after = breaks_after;
        answer.slow = self.faults.slow;
        answer.with("ETag", "\"of-the-file-server\"")
    }
}
