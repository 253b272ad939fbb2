"""The API reference: what a proto declares and says is in it, readable as markdown."""

import pytest
from google.protobuf import descriptor_pb2 as pb
from google.protobuf import text_format

from docs.render_api import render

FILE = """
name: "shop.proto" package: "shop"
service { name: "Shop" method { name: "Find" input_type: ".shop.Item" output_type: ".shop.None" } }
message_type {
  name: "Item"
  field { name: "kind" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".shop.Kind" }
  field {
    name: "parts" number: 2 label: LABEL_REPEATED
    type: TYPE_MESSAGE type_name: ".shop.Item.PartsEntry"
  }
  field { name: "euros" number: 3 label: LABEL_OPTIONAL type: TYPE_DOUBLE oneof_index: 0 }
  field { name: "free" number: 4 label: LABEL_OPTIONAL type: TYPE_BOOL oneof_index: 0 }
  field {
    name: "size" number: 5 label: LABEL_OPTIONAL
    type: TYPE_UINT32 oneof_index: 1 proto3_optional: true
  }
  field {
    name: "made" number: 6 label: LABEL_REPEATED
    type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp"
  }
  nested_type {
    name: "PartsEntry" options { map_entry: true }
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".shop.Item" }
  }
  oneof_decl { name: "price" }
  oneof_decl { name: "_size" }
}
message_type { name: "None" }
message_type { name: "ShopFront" }
message_type { name: "shop" }
enum_type { name: "Kind" value { name: "KIND_TOOL" number: 7 } }
"""

COMMENTS = {
    (
        2,
    ): " All of it. Fails with\n   NOT_FOUND  <none>\n   UNKNOWN    $why\n Otherwise not.\n\n Ends.\n",
    (6, 0): " Sells.\n",
    (6, 0, 2, 0): " Finds an\n item.\n",
    (4, 0): " A thing, see ShopFront.\n",
    (4, 0, 2, 0): " Which\n of `a|b`.\n",
    (4, 0, 8, 0): " What it costs.\n",
    (5, 0): " Sorts.\n",
    (5, 0, 2, 0): " Not for '$', __a__, <b> *u*|me; UNKNOWN, KIND_TOOL, $in.\n",
}


@pytest.fixture(scope="module")
def page() -> str:
    file = text_format.Parse(FILE, pb.FileDescriptorProto())
    for place, text in COMMENTS.items():
        file.source_code_info.location.add(path=place, leading_comments=text)
    return render(pb.FileDescriptorSet(file=[file]))


def section(page: str, heading: str) -> str:
    """What stands between a heading and the next one."""
    return page.split(f"\n{heading}\n\n")[1].partition("\n\n#")[0]


def test_a_files_comment_is_text_with_its_indented_lines_as_code(page: str) -> None:
    assert section(page, "## shop.proto") == (
        "All of it. Fails with\n\n"
        "```text\nNOT_FOUND  <none>\nUNKNOWN    $why\n```\n\n"
        "Otherwise not.\n\nEnds."
    )


def test_an_rpc_links_to_what_it_takes_and_returns(page: str) -> None:
    assert section(page, "### Shop") == "Sells."
    assert section(page, "#### Find") == (
        "Finds an\nitem.\n\nTakes [Item](#item), returns [None](#none)."
    )


def test_a_messages_fields_are_a_table(page: str) -> None:
    timestamp = "https://protobuf.dev/reference/protobuf/google.protobuf/#timestamp"
    assert section(page, "### Item").splitlines() == [
        "A thing, see [ShopFront](#shopfront).",
        "",
        "| number | name | type | label | description |",
        "| ---: | --- | --- | --- | --- |",
        r"| 1 | `kind` | [Kind](#kind) | | Which of `a\|b`. |",
        "| 2 | `parts` | `string` → [Item](#item) | map | |",
        "| 3 | `euros` | `double` | oneof `price` | |",
        "| 4 | `free` | `bool` | oneof `price` | |",
        "| 5 | `size` | `uint32` | optional | |",
        f"| 6 | `made` | [Timestamp]({timestamp}) | repeated | |",
        "",
        "`price` is at most one of `euros`, `free`. What it costs.",
    ]
    assert section(page, "### None") == "No fields."


def test_an_enums_values_are_a_table_and_no_text_becomes_markup(page: str) -> None:
    assert section(page, "### Kind").splitlines() == [
        "Sorts.",
        "",
        "| number | name | description |",
        "| ---: | --- | --- |",
        r"| 7 | `KIND_TOOL` | Not for '`$`', `__a__`, \<b> \*u\*\|me; `UNKNOWN`, `KIND_TOOL`, `$in`. |",
    ]


def test_the_contents_name_everything_that_no_rpc_leads_to(page: str) -> None:
    assert "\n".join(line for line in page.splitlines() if "- " in line and "|" not in line) == (
        "- [shop.proto](#shopproto)\n"
        "  - [Shop](#shop): [Find](#find)\n"
        "  - messages: [ShopFront](#shopfront), [shop](#shop-1)\n"
        "  - enums: [Kind](#kind)"
    )


def test_no_line_ends_in_a_space(page: str) -> None:
    assert page == "\n".join(line.rstrip() for line in page.splitlines()) + "\n"
