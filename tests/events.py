"""Reads files of events as TensorBoard does: in the order of their names, forgetting what a restart takes back."""

from __future__ import annotations

import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c


def records(path):
    """The events of a file, whose checksums have to be right."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        body, data = data[12 : 12 + length], data[12 + length :]
        assert struct.unpack("<I", data[:4])[0] == masked_crc32c(body)
        found.append(Event.FromString(body))
        data = data[4:]
    return found


def shown(folder):
    """What TensorBoard shows of a folder: by tag, the values by step; of pictures their bytes."""
    found = {}
    for path in sorted(folder.iterdir()):
        first, *others = records(path)
        assert first.file_version == "brain.Event:2"  # of this version on, a restart is heeded
        for event in others:
            if event.session_log.status == SessionLog.START:
                for steps in found.values():
                    for step in [step for step in steps if step >= event.step]:
                        del steps[step]
            for value in event.summary.value:
                is_picture = value.HasField("image")
                found.setdefault(value.tag, {})[event.step] = (
                    value.image.encoded_image_string if is_picture else value.simple_value
                )
    return found
