"""The comment on top of a config."""

from __future__ import annotations

from fusion.training.config_header import read_header

TEXT = """\
# CIFAR-10, a network: what it is,
# in two lines.
# Published: 90 %
#              of this
#            and that.
# As run:    without mixup
base: base/cifar.yaml
# Expect: no field, for it is not on top
"""


def test_header_is_a_paragraph_and_fields(tmp_path):
    (tmp_path / "a.yaml").write_text(TEXT)
    header = read_header(tmp_path / "a.yaml")
    assert header.about == "CIFAR-10, a network: what it is, in two lines."
    assert header.fields == {"Published": ("90 %", "  of this", "and that."), "As run": ("without mixup",)}


def test_config_without_a_comment_has_an_empty_header(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    header = read_header(tmp_path / "a.yaml")
    assert (header.about, header.fields) == ("", {})
