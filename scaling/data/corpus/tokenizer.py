"""Tokenisers: bytes, byte-pair encoding learned here, and those of a file (no torch).

    tokenizer = Bytes()
    tokenizer.encode([b"a document"])[0][-1]            # 0, which ends every document

Byte-pair encoding is learned over bytes (Radford 2019), so that every token has a number of bytes.
"""

import base64
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isoflop.errors import UserError
from isoflop.scaling.config.contents import hash_file
from isoflop.scaling.data.corpus.streams import library

END = "<|endoftext|>"
# names by which tokenisers of others call the end of a document
ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>")
# how the encodings of tiktoken cut a text into words, by the number of their tokens: r50k_base, o200k_base, and for any
# other number cl100k_base, whose pattern is that of Llama 3 and of what is learned here (tiktoken_ext/openai_public.py,
# tiktoken 0.5, before its patterns were made possessive)
R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
O200K = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
WORDS = {50256: R50K, 199998: O200K}

Tokens = NDArray[Any]


class Tokenizer(Protocol):
    """Documents to tokens."""

    name: str
    content: str  # a hash of all that decides what it does
    vocab_size: int
    end: int | None  # the token that ends every document; None where there is none

    def encode(self, documents: Sequence[bytes]) -> list[Tokens]:
        """Return the tokens of each document, its end included."""

    def lengths(self) -> NDArray[np.uint16] | None:
        """Return the bytes of text of each token, (vocab_size,); None if a token has no fixed length."""


class Bytes:
    """A byte is a token, and 0 ends a document."""

    name: str = "bytes"
    content: str = "bytes"
    vocab_size: int = 256
    end: int | None = 0

    def encode(self, documents: Sequence[bytes]) -> list[Tokens]:
        return [np.frombuffer(document + b"\0", dtype=np.uint8) for document in documents]

    def lengths(self) -> NDArray[np.uint16] | None:
        lengths = np.ones(256, np.uint16)
        lengths[0] = 0  # the end of a document is not a byte of it
        return lengths


class _JsonTokenizer:
    """A tokenizer.json of the library `tokenizers`."""

    def __init__(self, path: Path) -> None:
        tokenizers = library("tokenizers", f"{path} is a tokenizer.json")
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise UserError(f"data.tokenizer={path} is not a tokenizer.json ({error})") from None
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.name, self.content = path.name, hash_file(path)[:16]
        self.vocab_size = max(self.tokenizer.get_vocab().values()) + 1
        self.end: int | None = next((i for name in ENDS if (i := self.tokenizer.token_to_id(name)) is not None), None)
        self._spec = json.loads(path.read_text(encoding="utf-8"))

    def encode(self, documents: Sequence[bytes]) -> list[Tokens]:
        texts = [document.decode(errors="replace") for document in documents]
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ends = [] if self.end is None else [self.end]
        return [np.array(encoding.ids + ends, dtype=dtype(self.vocab_size)) for encoding in encodings]

    def lengths(self) -> NDArray[np.uint16] | None:
        decoder = self._spec.get("decoder") or {}
        if decoder.get("type") != "ByteLevel" or self._spec.get("normalizer"):
            return None
        lengths = np.zeros(self.vocab_size, np.uint16)
        special = {token["id"] for token in self._spec.get("added_tokens", [])}
        for token, number in self.tokenizer.get_vocab().items():
            lengths[number] = 0 if number in special else len(token)  # a sign of its alphabet is a byte
        return lengths


class Tiktoken:
    """A file of ranks as tiktoken keeps them: a token in base64 and its rank on every line."""

    def __init__(self, path: Path) -> None:
        tiktoken = library("tiktoken", f"{path} is a file of tiktoken")
        try:
            pairs = [line.split() for line in path.read_bytes().splitlines() if line.strip()]
            ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
            self.end: int | None = len(ranks)
            settings = {"mergeable_ranks": ranks, "special_tokens": {END: len(ranks)}}
            self.encoding = tiktoken.Encoding(path.stem, pat_str=WORDS.get(len(ranks), CL100K), **settings)
        except (ValueError, OSError) as error:
            raise UserError(f"data.tokenizer={path} is not a file of tiktoken's ranks ({error})") from None
        self.name, self.content, self.vocab_size = path.name, hash_file(path)[:16], len(ranks) + 1
        self._ranks = ranks

    def encode(self, documents: Sequence[bytes]) -> list[Tokens]:
        texts = [document.decode(errors="replace") for document in documents]
        rows = [self.encoding.encode_ordinary(text) for text in texts]
        return [np.array([*row, len(self._ranks)], dtype=dtype(self.vocab_size)) for row in rows]

    def lengths(self) -> NDArray[np.uint16] | None:
        lengths = np.zeros(self.vocab_size, np.uint16)
        for token, rank in self._ranks.items():
            lengths[rank] = len(token)
        return lengths


def load(path: Path | None) -> Tokenizer:
    """Load a tokeniser by its file's ending, `.json` or that of tiktoken; None is bytes. UserError if it is neither."""
    if path is None:
        return Bytes()
    if not path.is_file():
        raise UserError(f"data.tokenizer={path} is not there; give bytes, bpe, or a tokenizer.json or .tiktoken file")
    return _JsonTokenizer(path) if path.suffix == ".json" else Tiktoken(path)


def learn(documents: Iterable[bytes], vocab_size: int, path: Path) -> None:
    """Learn byte-pair encoding by `tokenizers` and write it for tiktoken, which is four times as fast."""
    tokenizers = library("tokenizers", "data.tokenizer=bpe is learned")
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    words = pre_tokenizers.Split(tokenizers.Regex(CL100K), "isolated")
    as_signs = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_signs])
    signs = _alphabet()
    shown = sys.stderr.isatty()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 1, initial_alphabet=list(signs), show_progress=shown)
    tokenizer.train_from_iterator((document.decode(errors="replace") for document in documents), trainer)
    ranks = sorted((rank, token) for token, rank in tokenizer.get_vocab().items())
    lines = (base64.b64encode(bytes(signs[sign] for sign in token)) + b" %d\n" % rank for rank, token in ranks)
    path.write_bytes(b"".join(lines))


def _alphabet() -> dict[str, int]:
    """Return the character by which `tokenizers` writes each byte (Radford 2019, bytes_to_unicode in encoder.py)."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}


def dtype(vocab_size: int) -> Any:
    """Return the smallest unsigned integer type that holds every token."""
    return np.uint8 if vocab_size <= 2**8 else np.uint16 if vocab_size <= 2**16 else np.uint32
