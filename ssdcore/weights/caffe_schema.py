"""The part of Caffe's file format that holds weights, as protobuf messages built at run time.

Field numbers are those of `caffe.proto`. Numbers in bulk are declared as bytes, which have the same
encoding as a packed list and become arrays without a Python object for each value.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# message -> (field, number, type, repeated); a type that is a message of this table is given by its name.
_MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "BlobShape": (("dim", 1, "int64", True),),
    "BlobProto": (
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "bytes", True),
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, "bytes", True),
    ),
    "BatchNormParameter": (("eps", 3, "float", False),),
    "LayerParameter": (
        ("name", 1, "string", False),
        ("type", 2, "string", False),
        ("blobs", 7, "BlobProto", True),
        ("batch_norm_param", 139, "BatchNormParameter", False),
    ),
    "V1LayerParameter": (
        ("name", 4, "string", False),
        ("type", 5, "int32", False),
        ("blobs", 6, "BlobProto", True),
    ),
    "NetParameter": (
        ("name", 1, "string", False),
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ),
}
V1_TYPES = {4: "Convolution", 14: "InnerProduct"}
"""Numbers of the layer types in the old format that have weights here."""


def _make_net_parameter() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="ssdcore/caffe.proto", package="ssdcore_caffe", syntax="proto2")
    for message, fields in _MESSAGES.items():
        descriptor = file.message_type.add(name=message)
        for field, number, kind, repeated in fields:
            descriptor.field.add(name=field, number=number, **_field_type(kind), **_field_label(repeated))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ssdcore_caffe.NetParameter"))


def _field_type(kind: str) -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    if kind in _MESSAGES:
        return {"type": field.TYPE_MESSAGE, "type_name": f".ssdcore_caffe.{kind}"}
    return {"type": field.Type.Value(f"TYPE_{kind.upper()}")}


def _field_label(repeated: bool) -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    return {"label": field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL}


NetParameter = _make_net_parameter()
"""Message class of a whole `.caffemodel` file."""
