"""Turn YANG models into JSON Schemas (draft-07), at build time.

The run time of pcn reads only the generated files, which are committed: pyang and elementpath are needed by whoever
changes a model, and by nobody else. That is why nothing outside this package imports it.

    yang        find and parse models with pyang; errors with file and line
    typedefs    from a leaf to its type
    patterns    XSD regular expressions into those of Python and ECMAScript
    numbers     number types and ranges
    leaf_types  all types
    values      defaults and examples
    conditions  when and must
    choices     choice
    kernel      the pcn: extensions: tables, keys, values, encodings
    claims      whether they can be as they are; placement: whether they stand where they mean something
    nodes       containers, lists, leaves, actions
    service     a whole service; topology: the whole document
    __main__    python -m schemas.generate [--check] [--services DIR]
"""
from __future__ import annotations

from schemas.generate.service import service_schema
from schemas.generate.topology import topology_schema
from schemas.generate.yang import ModelError, load_module

__all__ = ["ModelError", "load_module", "service_schema", "topology_schema"]
