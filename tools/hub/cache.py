"""Shows that `ueo` and the Python client of the hub find what the other has put into the cache.

Both ask the same hub on this machine (`crates/ueo-hub/examples/local_hub.rs`), so that the real client also checks that
it answers as a hub does. Versions: tools/requirements.txt and huggingface_hub 2.4.0.

    cargo build --release --workspace --bin ueo --example local_hub
    python tools/hub/cache.py
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = "owner/iconclip"
PROGRAM = ROOT / "target/release/ueo"


class LocalHub:
    """The hub, with the requests that it was asked."""

    def __init__(self, directory: Path) -> None:
        command = [ROOT / "target/release/examples/local_hub", NAME, directory]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.process.stdout.readline().strip()
        self.requests: list[str] = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        for line in self.process.stdout:
            self.requests.append(line.strip())


def environment(hub: LocalHub, home: Path, **more: str) -> dict[str, str]:
    proxies = [name for name in os.environ if name.upper().endswith("_PROXY")]
    kept = {name: value for name, value in os.environ.items() if name not in proxies and not name.startswith("HF_")}
    return {**kept, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **more}


def ueo(hub: LocalHub, home: Path, **more: str) -> None:
    command = [PROGRAM, "inspect", "--model", f"hf-hub:{NAME}", "--verbose"]
    result = subprocess.run(command, env=environment(hub, home, **more), capture_output=True, text=True, check=False)
    lines = [line for line in result.stderr.splitlines() if "fetching" in line or "bytes" in line or " is /" in line]
    print(f"  ueo inspect: exit {result.returncode}; {'; '.join(lines)}")
    assert result.returncode == 0, result.stderr


def python(hub: LocalHub, home: Path, code: str, **more: str) -> None:
    program = f"import huggingface_hub as h, os\nname = {NAME!r}\n{code}"
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment(hub, home, **more), capture_output=True, text=True, check=False
    )
    print("  python:", result.stdout.strip().replace("\n", "\n          "))
    assert result.returncode == 0, result.stderr


def tree(home: Path) -> None:
    root = home / "hub"
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            print(f"    {path.relative_to(root)} -> {os.readlink(path)}")
        elif path.is_file():
            print(f"    {path.relative_to(root)} ({path.stat().st_size} bytes)")


def transfers(hub: LocalHub) -> None:
    files = [line for line in hub.requests if line.startswith("GET") and ("/resolve/" in line or "signed" in line)]
    print(f"  files that were fetched meanwhile: {len(files)} requests")
    hub.requests.clear()


DOWNLOAD = """
for file in ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json"]:
    print(os.path.basename(h.hf_hub_download(name, file)))
"""
LOOK = """
print("huggingface_hub", h.__version__)
print("weights:", h.try_to_load_from_cache(name, "open_clip_model.safetensors"))
print("not there:", h.try_to_load_from_cache(name, "preprocessor_config.json"))
print("scan:", [(r.repo_id, r.nb_files, [sorted(v.refs) for v in r.revisions]) for r in h.scan_cache_dir().repos])
print("warnings:", h.scan_cache_dir().warnings)
"""
SNAPSHOT = """
print("snapshot:", h.snapshot_download(name, local_files_only=True, allow_patterns=["open_clip_*", "tokenizer*"]))
"""


def main() -> None:
    import huggingface_hub

    assert huggingface_hub.__version__ == "2.4.0", huggingface_hub.__version__
    hub = LocalHub(ROOT / "models/iconclip-resnet")
    with tempfile.TemporaryDirectory() as directory:
        first, second = Path(directory) / "first", Path(directory) / "second"
        print("1. ueo fetches, Python finds")
        ueo(hub, first)
        transfers(hub)
        tree(first)
        python(hub, first, LOOK + SNAPSHOT + DOWNLOAD, HF_HUB_OFFLINE="1")
        python(hub, first, DOWNLOAD)
        transfers(hub)
        print("2. Python fetches, ueo finds")
        python(hub, second, DOWNLOAD)
        transfers(hub)
        tree(second)
        ueo(hub, second, HF_HUB_OFFLINE="1")
        ueo(hub, second)
        transfers(hub)
        print("3. Python fetches a snapshot, ueo finds")
        python(hub, Path(directory) / "third", "print(h.snapshot_download(name))")
        hub.requests.clear()
        ueo(hub, Path(directory) / "third", HF_HUB_OFFLINE="1")
        transfers(hub)
    hub.process.stdin.close()
    print("each finds what the other has put there")


if __name__ == "__main__":
    main()
