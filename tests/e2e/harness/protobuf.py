"""Schemas of Protobuf as protoc reads them."""
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from .place import use_kafka_packages

use_kafka_packages()

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402


@lru_cache(maxsize=1000)
def compiled(text):
    """The FileDescriptorProto of a .proto file; ValueError with what protoc says."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "schema.proto", Path(folder) / "out"
        source.write_text(text)
        done = subprocess.run(["protoc", f"--proto_path={folder}", f"--descriptor_set_out={out}", "schema.proto"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip())
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]


@lru_cache(maxsize=1000)
def message_class(text):
    """Of the first message of the file."""
    file = compiled(text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    name = f"{file.package}.{file.message_type[0].name}" if file.package else file.message_type[0].name
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
