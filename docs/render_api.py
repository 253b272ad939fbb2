"""The API reference, `docs/api.md`, from the comments of the public protos.

    python -m docs.render_api DESCRIPTORS INTO

DESCRIPTORS is a set that protoc wrote with `--include_source_info`. In a comment, lines that are
indented by two spaces or more become a code block, and names become code or links; all else is text.
What a message declares inside itself is not looked for: the public protos declare nothing there.
"""

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from google.protobuf import descriptor_pb2 as pb

HEAD = """\
Written by `make docs` from the comments in [`protos/torpor/v1`](../protos/torpor/v1): change it there.
A field without a label that is not set is zero, false or empty, and absent if it is a message."""

GOOGLE = "https://protobuf.dev/reference/protobuf/google.protobuf/"

# Left to right: code as it stands, operators, codes (the shortest have seven letters), names with an
# underscore, names in camel case, and what markdown would take for its own.
WORDS = re.compile(
    r"`[^`]*`|\$\w*|\b[A-Z]{7,}\b|\w*_\w+|\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b|[\\<*_\[\]|~]"
)

Place = tuple[int, ...]
Thing = (
    pb.FileDescriptorProto
    | pb.ServiceDescriptorProto
    | pb.MethodDescriptorProto
    | pb.DescriptorProto
    | pb.EnumDescriptorProto
)
LEVELS: dict[type, str] = {pb.FileDescriptorProto: "##", pb.MethodDescriptorProto: "####"}


class Entry(NamedTuple):
    """One heading of the reference: a file, a service, an rpc, a message or an enum."""

    thing: Thing
    name: str  # as descriptors refer to it: .package.Message
    title: str
    place: Place  # in the file, as its comments are filed
    comments: Mapping[Place, str]  # of the whole file

    def text(self, *below: int) -> str:
        """The comment of the thing itself, or of something in it."""
        return self.comments.get((*self.place, *below), "")


def render(descriptors: pb.FileDescriptorSet) -> str:
    """The whole reference as markdown."""
    entries = [entry for file in descriptors.file for entry in entries_of(file)]
    links = links_to(entries)
    blocks = ["# API reference", HEAD, contents(entries, links)]
    for entry in entries:
        blocks.append(f"{LEVELS.get(type(entry.thing), '###')} {entry.title}")
        blocks += paragraphs(entry.text(), links)
        match entry.thing:
            case pb.MethodDescriptorProto() as rpc:
                asked = "a stream of " * rpc.client_streaming + links[rpc.input_type]
                answered = "a stream of " * rpc.server_streaming + links[rpc.output_type]
                blocks.append(f"Takes {asked}, returns {answered}.")
            case pb.DescriptorProto() as message:
                blocks += fields(message, entry, links)
            case pb.EnumDescriptorProto() as enum:
                texts = (entry.text(enum.VALUE_FIELD_NUMBER, n) for n in range(len(enum.value)))
                rows = [
                    (str(value.number), f"`{value.name}`", inline(text, links))
                    for value, text in zip(enum.value, texts, strict=True)
                ]
                blocks.append(table(("number", "name", "description"), rows))
    return "\n\n".join(blocks) + "\n"


def entries_of(file: pb.FileDescriptorProto) -> Iterator[Entry]:
    """What a file declares, in the order of the reference: services, messages, enums."""
    comments = {
        tuple(where.path): where.leading_comments + where.trailing_comments
        for where in file.source_code_info.location
    }
    yield Entry(file, file.name, file.name, (file.PACKAGE_FIELD_NUMBER,), comments)
    declared: list[tuple[int, Iterable[Thing]]] = [
        (file.SERVICE_FIELD_NUMBER, file.service),
        (file.MESSAGE_TYPE_FIELD_NUMBER, file.message_type),
        (file.ENUM_TYPE_FIELD_NUMBER, file.enum_type),
    ]
    for number, things in declared:
        for n, thing in enumerate(things):
            name, place = f".{file.package}.{thing.name}", (number, n)
            yield Entry(thing, name, thing.name, place, comments)
            if isinstance(thing, pb.ServiceDescriptorProto):
                for m, rpc in enumerate(thing.method):
                    below = (*place, thing.METHOD_FIELD_NUMBER, m)
                    yield Entry(rpc, f"{name}.{rpc.name}", rpc.name, below, comments)


def links_to(entries: Iterable[Entry]) -> dict[str, str]:
    """Links to the headings, with GitHub's anchors, by full name and by title.

    An anchor is the heading in small letters without its punctuation, numbered from the second one.
    """
    links: dict[str, str] = {}
    taken: dict[str, int] = {"api-reference": 1}
    for entry in entries:
        anchor = re.sub(r"[^\w -]", "", entry.title.lower()).replace(" ", "-")
        taken[anchor] = count = taken.get(anchor, 0) + 1
        link = f"[{entry.title}](#{anchor}{f'-{count - 1}' if count > 1 else ''})"
        links[entry.name] = link
        links.setdefault(entry.title, link)
    return links


def contents(entries: Sequence[Entry], links: Mapping[str, str]) -> str:
    """A list of the headings; what an rpc takes or returns is found at the rpc."""
    rpcs = [e.thing for e in entries if isinstance(e.thing, pb.MethodDescriptorProto)]
    at_rpcs = {name for rpc in rpcs for name in (rpc.input_type, rpc.output_type)}
    starts: dict[type, str] = {
        pb.FileDescriptorProto: "\n- ",
        pb.ServiceDescriptorProto: "\n  - ",
        pb.MethodDescriptorProto: ": ",
        pb.DescriptorProto: "\n  - messages: ",
        pb.EnumDescriptorProto: "\n  - enums: ",
    }
    shown = (entry for entry in entries if entry.name not in at_rpcs)
    kinds = groupby(shown, key=lambda entry: type(entry.thing))
    return "".join(
        starts[kind] + ", ".join(links[entry.name] for entry in found) for kind, found in kinds
    ).strip()


def fields(message: pb.DescriptorProto, entry: Entry, links: Mapping[str, str]) -> Iterator[str]:
    """The table of a message's fields, and what is said of its oneofs."""
    if not message.field:
        yield "No fields."
        return
    maps = {f"{entry.name}.{pair.name}": pair for pair in message.nested_type}
    members: dict[int, list[str]] = {}
    rows = []
    for n, field in enumerate(message.field):
        label, types = "", [field]
        if pair := maps.get(field.type_name):
            label, types = "map", list(pair.field)
        elif field.label == field.LABEL_REPEATED:
            label = "repeated"
        elif field.proto3_optional:
            label = "optional"
        elif field.HasField("oneof_index"):
            label = f"oneof `{message.oneof_decl[field.oneof_index].name}`"
            members.setdefault(field.oneof_index, []).append(f"`{field.name}`")
        text = inline(entry.text(message.FIELD_FIELD_NUMBER, n), links)
        type_ = " → ".join(type_of(one, links) for one in types)
        rows.append((str(field.number), f"`{field.name}`", type_, label, text))
    yield table(("number", "name", "type", "label", "description"), rows)
    for n, names in members.items():
        text = inline(entry.text(message.ONEOF_DECL_FIELD_NUMBER, n), links)
        one = f"`{message.oneof_decl[n].name}` is at most one of {', '.join(names)}."
        yield f"{one} {text}".rstrip()


def type_of(field: pb.FieldDescriptorProto, links: Mapping[str, str]) -> str:
    """A field's type: a scalar's name, or a link to the message or enum."""
    if not field.type_name:
        return f"`{field.Type.Name(field.type).removeprefix('TYPE_').lower()}`"
    if field.type_name.startswith(".google.protobuf."):
        name = field.type_name.rpartition(".")[2]
        return f"[{name}]({GOOGLE}#{name.lower()})"
    return links[field.type_name]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A markdown table; numbers to the right."""
    marks = ("---:", *("---" for _ in head[1:]))
    lines = [head, marks, *rows]
    return "\n".join(re.sub(r" +", " ", f"| {' | '.join(cells)} |") for cells in lines)


def paragraphs(comment: str, links: Mapping[str, str]) -> Iterator[str]:
    """A comment's blocks: text in the lines it has, and indented lines as code."""
    lines = [line.removeprefix(" ").rstrip() for line in comment.splitlines()]
    kinds = groupby(lines, key=lambda line: "code" if line.startswith("  ") else bool(line))
    for kind, found in kinds:
        block = "\n".join(found)
        if kind == "code":
            yield f"```text\n{textwrap.dedent(block)}\n```"
        elif kind:
            yield prose(block, links)


def inline(comment: str, links: Mapping[str, str]) -> str:
    """A comment in one line, as a cell of a table takes it."""
    return prose(" ".join(comment.split()), links)


def prose(text: str, links: Mapping[str, str]) -> str:
    """Text with its names as code or links, and without what markdown would take for its own."""

    def word(found: re.Match[str]) -> str:
        it = found[0]
        if len(it) == 1 and it != "$":
            return f"\\{it}"
        if it.startswith("`"):
            return it.replace("|", r"\|")
        return links.get(it, it if it.isalpha() and not it.isupper() else f"`{it}`")

    return WORDS.sub(word, text)


def main() -> None:
    """Reads the descriptors named first on the command line and writes the file named second."""
    descriptors, into = map(Path, sys.argv[1:])
    into.write_text(render(pb.FileDescriptorSet.FromString(descriptors.read_bytes())))


if __name__ == "__main__":
    main()
