"""The first member of a saved lab: what the file is. The others are the lab's folder. Pure.

podwire-lab.json                        this head
lab/lab.json  lab/file.json             its settings
lab/published.json                      its ports on the host
lab/pki/                                its authority
lab/machines/MACHINE/{etc,var,cni}/     certificates and keys, store, volumes, addresses of Pods

The store is a file of SQLite, also that of a lab with etcd.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME, FOLDER = "podwire-lab.json", "lab"
VERSION = 1
# What of the lab's folder is saved. Its processes, sockets and logs are not.
FILES = ("lab.json", "file.json", "published.json")
FOLDERS = ("pki", "machines")
PARTS = ("etc", "var", "cni")  # of a machine
STORE = "machines/control/var/store.db"
# Below these, files belong to Pods: there may be links, and other things than files.
OF_PODS = re.compile(r"machines/[^/]+/(var/(volumes|agent)|cni)/")
# What containers are made of: it is made anew.
OF_CONTAINERS = re.compile(r"lab/machines/[^/]+/var/agent/(containers|sandboxes)/")
# The host's images are mounted there; the store is copied in its own way.
LEFT_OUT = re.compile(r"machines/[^/]+/var/((loaded-)?images|etcd|store\.db.*)")


class SavedImage(BaseModel):
    """An image that Pods of the lab use; it is not in the file."""

    name: str
    id: str


class Head(BaseModel):
    """What a saved lab says of itself; fields that are unknown here are passed over."""

    model_config = ConfigDict(frozen=True)

    format: Literal["podwire lab"] = "podwire lab"
    version: Annotated[int, Field(ge=1)] = VERSION
    podwire: str
    name: str
    port: Annotated[int, Field(ge=0, le=65535)]  # of the API server on the host
    images: tuple[SavedImage, ...] = ()
