"""A table of values of Pods: what upstream refuses, with its messages, and what it takes."""

from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One kind of value: the fields that are refused, upstream's errors, and fields that pass."""

    name: str
    refused: Spec
    errors: tuple[str, ...]
    taken: tuple[Spec, ...]
    of_pod: bool = False  # not of templates
    always: bool = False  # of Pods that are always restarted, which those of Jobs are not

    @property
    def of_container(self) -> bool:
        """True if the fields are those of a container."""
        return "container" in self.refused


C = "containers[0]"
LABEL = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or"
    " '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or"
    " '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used"
    " for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
    " with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for"
    " validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
ENV = (
    "a valid environment variable name must consist only of printable ASCII characters other than"
    " '='"
)
ENV_FIELDS = (
    '"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",'
    ' "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP",'
    ' "status.podIPs"'
)
FILE_FIELDS = (
    '"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace",'
    ' "metadata.uid"'
)
RESOURCES = (
    '"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",'
    ' "requests.ephemeral-storage", "requests.memory"'
)
BYTES = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
MODE = "must be a number between 0 and 0777 (octal), both inclusive"
EMPTY = {"volumes": [{"name": "v", "emptyDir": {}}]}


def env(**source: Any) -> Spec:
    return {"container": {"env": [{"name": "A", "valueFrom": source}]}}


def field_ref(path: str) -> Spec:
    return env(fieldRef={"fieldPath": path})


def resource_ref(**ref: Any) -> Spec:
    return env(resourceFieldRef=ref)


def env_from(**source: Any) -> Spec:
    return {"container": {"envFrom": [source]}}


CONFIG = {"configMapRef": {"name": "c"}}
_ENV = (
    Row(
        "env fieldPath of no field",
        field_ref("spec.nope"),
        (
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.nope": error converting'
            " fieldPath: field label not supported: spec.nope",
        ),
        (field_ref("spec.nodeName"), field_ref("spec.host"), field_ref("status.hostIPs")),
    ),
    Row(
        "env fieldPath of a field of volumes only",
        field_ref("metadata.labels"),
        (
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels":'
            f" supported values: {ENV_FIELDS}",
        ),
        (field_ref("metadata.labels['a']"), field_ref("metadata.annotations['A.b/c']")),
    ),
    Row(
        "env fieldPath with a key of no map",
        field_ref("metadata.name['a']"),
        (
            f"{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.name['a']\": error"
            " converting fieldPath: field label does not support subscript: metadata.name['a']",
        ),
        (field_ref("metadata.name"),),
    ),
    Row(
        "env fieldPath with a wrong key",
        field_ref("metadata.labels['-']"),
        (f'{C}.env[0].valueFrom.fieldRef: Invalid value: "-": {QUALIFIED}',),
        (field_ref("metadata.labels['x.io/a']"),),
    ),
    Row(
        "env fieldPath empty",
        field_ref(""),
        (f"{C}.env[0].valueFrom.fieldRef.fieldPath: Required value",),
        (field_ref("metadata.uid"),),
    ),
    Row(
        "env fieldRef of another version",
        env(fieldRef={"apiVersion": "v2", "fieldPath": "metadata.name"}),
        (
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.name": error'
            " converting fieldPath: unsupported pod version: v2",
        ),
        (env(fieldRef={"apiVersion": "v1", "fieldPath": "metadata.name"}),),
    ),
    Row(
        "env resourceFieldRef of no resource",
        resource_ref(resource="limits.gpu"),
        (
            f'{C}.env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu":'
            f" supported values: {RESOURCES}",
        ),
        (resource_ref(resource="limits.cpu"), resource_ref(resource="limits.hugepages-2Mi")),
    ),
    Row(
        "env resourceFieldRef without a resource",
        resource_ref(resource=""),
        (f"{C}.env[0].valueFrom.resourceFieldRef.resource: Required value",),
        (resource_ref(resource="requests.ephemeral-storage"),),
    ),
    Row(
        "env divisor of cpu",
        resource_ref(resource="limits.cpu", divisor="2"),
        (
            f'{C}.env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only'
            " divisor's values 1m and 1 are supported with the cpu resource",
        ),
        (
            resource_ref(resource="limits.cpu", divisor="1m"),
            resource_ref(resource="limits.cpu", divisor="0"),
        ),
    ),
    Row(
        "env divisor of memory",
        resource_ref(resource="limits.memory", divisor="1m"),
        (
            f'{C}.env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.memory": only'
            f" divisor's values {BYTES} are supported with the memory resource",
        ),
        (
            resource_ref(resource="limits.memory", divisor="1024Ki"),
            resource_ref(resource="requests.memory", divisor="1000"),
        ),
    ),
    Row(
        "env secretKeyRef without a key",
        env(secretKeyRef={"name": "s"}),
        (f"{C}.env[0].valueFrom.secretKeyRef.key: Required value",),
        (env(secretKeyRef={"name": "s", "key": ".k"}),),
    ),
    Row(
        "env configMapKeyRef without a name",
        env(configMapKeyRef={"key": "k"}),
        (f'{C}.env[0].valueFrom.configMapKeyRef.name: Invalid value: "": {SUBDOMAIN}',),
        (env(configMapKeyRef={"name": "c", "key": "k"}),),
    ),
    Row(
        "env fileKeyRef of another volume",
        {
            **env(fileKeyRef={"volumeName": "v", "path": "p", "key": "K"}),
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
        },
        (
            f'{C}.env[0].valueFrom.fileKeyRef.volumeName: Invalid value: "v": referenced volume'
            " must be of type emptyDir",
        ),
        ({**env(fileKeyRef={"volumeName": "v", "path": "p", "key": "K"}), **EMPTY},),
    ),
    Row(
        "env fileKeyRef above its volume",
        {**env(fileKeyRef={"volumeName": "v", "path": "../p", "key": "K"}), **EMPTY},
        (f"{C}.env[0].valueFrom.fileKeyRef.path: Invalid value: \"../p\": must not contain '..'",),
        ({**env(fileKeyRef={"volumeName": "v", "path": "a/..b", "key": "1K"}), **EMPTY},),
    ),
    Row(
        "env of no source",
        env(),
        (
            f'{C}.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`,'
            " `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        ({"container": {"env": [{"name": "1 A"}]}},),
    ),
    Row(
        "envFrom prefix",
        env_from(prefix="a=b", **CONFIG),
        (f'{C}.envFrom[0].prefix: Invalid value: "a=b": {ENV}',),
        (env_from(prefix="1 a", **CONFIG),),
    ),
    Row(
        "envFrom name",
        env_from(secretRef={"name": "S"}),
        (f'{C}.envFrom[0].secretRef.name: Invalid value: "S": {SUBDOMAIN}',),
        (env_from(secretRef={"name": "s-"}),),
    ),
    Row(
        "envFrom of two",
        env_from(secretRef={"name": "s"}, **CONFIG),
        (f'{C}.envFrom: Invalid value: "": may not have more than one field specified at a time',),
        (env_from(**CONFIG),),
    ),
)


def mount(**more: Any) -> Spec:
    return {"container": {"volumeMounts": [{"name": "v", "mountPath": "/v"} | more]}, **EMPTY}


CLAIM = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}


def device(volumes: Spec = CLAIM, **more: Any) -> Spec:
    return {"container": {"volumeDevices": [{"name": "v", "devicePath": "/d"} | more]}, **volumes}


def privileged(spec: Spec) -> Spec:
    context = {"securityContext": {"privileged": True}}
    return spec | {"container": spec["container"] | context}


_MOUNTS = (
    Row(
        "mountPropagation unknown",
        mount(mountPropagation="x"),
        (
            f'{C}.volumeMounts.mountPropagation: Unsupported value: "x": supported values:'
            ' "Bidirectional", "HostToContainer", "None"',
        ),
        (mount(mountPropagation="HostToContainer"),),
    ),
    Row(
        "mountPropagation without rights",
        mount(mountPropagation="Bidirectional"),
        (
            f"{C}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is"
            " available only to privileged containers",
        ),
        (privileged(mount(mountPropagation="Bidirectional")),),
    ),
    Row(
        "recursiveReadOnly unknown",
        mount(readOnly=True, recursiveReadOnly="x"),
        (
            f'{C}.volumeMounts.recursiveReadOnly: Unsupported value: "x": supported values:'
            ' "Disabled", "Enabled", "IfPossible"',
        ),
        (mount(readOnly=True, recursiveReadOnly="IfPossible"), mount(recursiveReadOnly="Disabled")),
    ),
    Row(
        "recursiveReadOnly of a mount that is written",
        mount(recursiveReadOnly="Enabled"),
        (
            f"{C}.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is"
            " true",
        ),
        (mount(readOnly=True, recursiveReadOnly="Enabled", mountPropagation="None"),),
    ),
    Row(
        "recursiveReadOnly of a mount that spreads",
        mount(readOnly=True, recursiveReadOnly="Enabled", mountPropagation="HostToContainer"),
        (
            f"{C}.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when"
            " mountPropagation is None or not specified",
        ),
        (mount(readOnly=True, recursiveReadOnly="Enabled"),),
    ),
    Row(
        "subPath and subPathExpr",
        mount(subPath="a", subPathExpr="$(A)"),
        (
            f'{C}.volumeMounts[0].subPathExpr: Invalid value: "$(A)": subPathExpr and subPath are'
            " mutually exclusive",
        ),
        (mount(subPath="a"), mount(subPathExpr="$(A)")),
    ),
    Row(
        "subPathExpr from the root",
        mount(subPathExpr="/a"),
        (f'{C}.volumeMounts.subPathExpr: Invalid value: "/a": must be a relative path',),
        (mount(subPathExpr="a/b"),),
    ),
    Row(
        "volumeDevices of no volume",
        device({}),
        (f'{C}.volumeDevices[0].name: Not found: "v"',),
        (device(),),
    ),
    Row(
        "volumeDevices of a folder",
        device(EMPTY),
        (
            f'{C}.volumeDevices[0].name: Invalid value: "v": can only use volume source type of'
            " PersistentVolumeClaim or Ephemeral for block mode",
        ),
        (device(),),
    ),
    Row(
        "volumeDevices without a path",
        device(devicePath=""),
        (f"{C}.volumeDevices[0].devicePath: Required value",),
        (device(devicePath="/dev/x"),),
    ),
    Row(
        "volumeDevices up the tree",
        device(devicePath="/a/../b"),
        (
            f'{C}.volumeDevices[0].devicePath: Invalid value: "/a/../b": can not contain backsteps'
            " ('..')",
        ),
        (device(devicePath="/a/..b"),),
    ),
)


def resources(claims: Any = (), **amounts: Any) -> Spec:
    made: Spec = {"container": {"resources": amounts}}
    return made | {"resourceClaims": list(claims)} if claims else made


def limits(name: str, amount: str, **more: str) -> Spec:
    return resources(limits={name: amount} | more, requests={name: amount} | more)


STANDARD = "must be a standard resource"
ONE_CLAIM = ({"name": "a", "resourceClaimName": "x"},)


def whole(cpu: str, pages: str = "", **amounts: Any) -> Spec:
    """Return a Pod with resources of its own, beside those of its container."""
    limits = {"cpu": cpu} | ({pages: "4Mi"} if pages else {})
    return {"container": {"resources": {"limits": limits, "requests": limits}}} | {
        "resources": amounts
    }


_RESOURCES = (
    Row(
        "resource of no name",
        resources(requests={"gpu": "1"}),
        (
            f'{C}.resources.requests[gpu]: Invalid value: "gpu": {STANDARD} type or fully'
            " qualified",
            f'{C}.resources.requests[gpu]: Invalid value: "gpu": {STANDARD} for containers',
        ),
        (limits("ephemeral-storage", "1"), limits("x.io/gpu", "1")),
    ),
    Row(
        "resource that is not of containers",
        resources(requests={"pods": "1"}),
        (f'{C}.resources.requests[pods]: Invalid value: "pods": {STANDARD} for containers',),
        (resources(requests={"memory": "1"}), resources(requests={"kubernetes.io/x": "1"})),
    ),
    Row(
        "resource with the prefix of a quota",
        limits("requests.x.io/gpu", "1"),
        (
            f'{C}.resources.limits[requests.x.io/gpu]: Invalid value: "requests.x.io/gpu": doesn\'t'
            " follow extended resource name standard",
            f'{C}.resources.requests[requests.x.io/gpu]: Invalid value: "requests.x.io/gpu":'
            " doesn't follow extended resource name standard",
        ),
        (limits("x.io/requests.gpu", "1"),),
    ),
    Row(
        "extended resource in part",
        limits("x.io/gpu", "500m"),
        (
            f'{C}.resources.limits[x.io/gpu]: Invalid value: "500m": must be an integer',
            f'{C}.resources.requests[x.io/gpu]: Invalid value: "500m": must be an integer',
        ),
        (limits("x.io/gpu", "2000m"), limits("cpu", "500m")),
    ),
    Row(
        "extended resource without a limit",
        resources(requests={"x.io/gpu": "1"}),
        (
            f"{C}.resources.limits: Required value: Limit must be set for non overcommitable"
            " resources",
        ),
        (limits("x.io/gpu", "1"), resources(requests={"cpu": "1"})),
    ),
    Row(
        "extended resource overcommitted",
        resources(requests={"x.io/gpu": "1"}, limits={"x.io/gpu": "2"}),
        (f'{C}.resources.requests: Invalid value: "1": must be equal to x.io/gpu limit of 2',),
        (resources(requests={"cpu": "1"}, limits={"cpu": "2"}),),
    ),
    Row(
        "huge pages alone",
        limits("hugepages-2Mi", "2Mi"),
        (f"{C}.resources: Forbidden: HugePages require cpu or memory",),
        (limits("hugepages-2Mi", "2Mi", memory="1"),),
    ),
    Row(
        "huge pages in part",
        limits("hugepages-2Mi", "3Mi", cpu="1"),
        tuple(
            f'{C}.resources.{part}[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive'
            " integer multiple of hugepages-2Mi"
            for part in ("limits", "requests")
        ),
        (limits("hugepages-2Mi", "4Mi", cpu="1"),),
    ),
    Row(
        "claims of no claim",
        resources(claims=ONE_CLAIM) | {"container": {"resources": {"claims": [{"name": "b"}]}}},
        (
            f'{C}.resources.claims[0]: Not found: "b": must be one of the names in'
            " pod.spec.resourceClaims: a",
        ),
        (resources(claims=ONE_CLAIM) | {"container": {"resources": {"claims": [{"name": "a"}]}}},),
    ),
    Row(
        "claims twice",
        resources(claims=ONE_CLAIM)
        | {"container": {"resources": {"claims": [{"name": "a"}, {"name": "a", "request": "r"}]}}},
        (f'{C}.resources.claims[1]: Duplicate value: "a"',),
        (
            resources(claims=ONE_CLAIM)
            | {
                "container": {
                    "resources": {
                        "claims": [{"name": "a", "request": "r"}, {"name": "a", "request": "s"}]
                    }
                }
            },
        ),
    ),
    Row(
        "resourceClaims of two sources",
        {
            "resourceClaims": [
                {"name": "a", "resourceClaimName": "x", "resourceClaimTemplateName": "y"}
            ]
        },
        (
            'resourceClaims[0]: Invalid value: {"name":"a","resourceClaimName":"x",'
            '"resourceClaimTemplateName":"y"}: at most one of `resourceClaimName` or'
            " `resourceClaimTemplateName` may be specified",
        ),
        ({"resourceClaims": [{"name": "a", "resourceClaimTemplateName": "y"}]},),
    ),
    Row(
        "resourceClaims of no source",
        {"resourceClaims": [{"name": "a"}]},
        (
            'resourceClaims[0]: Invalid value: {"name":"a"}: must specify one of:'
            " `resourceClaimName`, `resourceClaimTemplateName`",
        ),
        ({"resourceClaims": [*ONE_CLAIM]},),
    ),
    Row(
        "resourceClaims with one name",
        {"resourceClaims": [*ONE_CLAIM, *ONE_CLAIM]},
        ('resourceClaims[1].name: Duplicate value: "a"',),
        ({"resourceClaims": [*ONE_CLAIM, {"name": "b", "resourceClaimName": "x"}]},),
    ),
    Row(
        "overhead of no resource",
        {"overhead": {"gpu": "1"}},
        (
            f'overhead.limits[gpu]: Invalid value: "gpu": {STANDARD} type or fully qualified',
            f'overhead.limits[gpu]: Invalid value: "gpu": {STANDARD} for containers',
        ),
        ({"overhead": {"cpu": "1"}},),
    ),
    Row(
        "resources of the Pod of another name",
        {"resources": {"limits": {"ephemeral-storage": "1"}}},
        (
            'resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported'
            ' values: "cpu", "hugepages-", "memory"',
        ),
        ({"resources": {"limits": {"cpu": "1"}}},),
    ),
    Row(
        "resizePolicy of no resource",
        {"container": {"resizePolicy": [{"resourceName": "x", "restartPolicy": "NotRequired"}]}},
        (f'{C}.resizePolicy: Unsupported value: "x": supported values: "cpu", "memory"',),
        (
            {
                "container": {
                    "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]
                }
            },
        ),
    ),
    Row(
        "resizePolicy of no policy",
        {"container": {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "x"}]}},
        (
            f'{C}.resizePolicy: Unsupported value: "x": supported values: "NotRequired",'
            ' "RestartContainer"',
        ),
        (
            {
                "container": {
                    "resizePolicy": [{"resourceName": "memory", "restartPolicy": "NotRequired"}]
                }
            },
        ),
        always=True,
    ),
)


def probe(kind: str = "livenessProbe", **more: Any) -> Spec:
    return {"container": {kind: {"tcpSocket": {"port": 1}} | more}}


def http(**more: Any) -> Spec:
    return {"container": {"livenessProbe": {"httpGet": {"port": 1} | more}}}


def hook(action: Spec, grace: int = 30) -> Spec:
    return {
        "container": {"lifecycle": {"preStop": action}},
        "terminationGracePeriodSeconds": grace,
    }


def rule(**more: Any) -> Spec:
    given = {"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}} | more
    return {"container": {"restartPolicy": "Never", "restartPolicyRules": [given]}}


SLEEP = "must be non-negative and less than terminationGracePeriodSeconds"
_PROBES = (
    Row(
        "probe: grace for readiness",
        probe("readinessProbe", terminationGracePeriodSeconds=1),
        (
            f"{C}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set"
            " for readinessProbes",
        ),
        (probe(terminationGracePeriodSeconds=1), probe("readinessProbe")),
    ),
    Row(
        "probe: name of a header",
        http(httpHeaders=[{"name": "a b", "value": "x"}]),
        (
            f'{C}.livenessProbe.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must'
            " consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for"
            " validation is '[-A-Za-z0-9]+')",
        ),
        (http(httpHeaders=[{"name": "X-a", "value": "b c"}]),),
    ),
    Row(
        "probe: two actions",
        probe(exec={"command": ["x"]}),
        (f"{C}.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",),
        (probe(),),
    ),
    Row(
        "preStop: sleep below zero",
        hook({"sleep": {"seconds": -1}}),
        (f"{C}.lifecycle.preStop.sleep: Invalid value: -1: {SLEEP} (30)",),
        (hook({"sleep": {"seconds": 0}}),),
    ),
    Row(
        "preStop: sleep beyond the end",
        hook({"sleep": {"seconds": 6}}, grace=5),
        (f"{C}.lifecycle.preStop.sleep: Invalid value: 6: {SLEEP} (5)",),
        (hook({"sleep": {"seconds": 5}}, grace=5),),
    ),
    Row(
        "restart rules: no policy",
        {"container": {"restartPolicyRules": rule()["container"]["restartPolicyRules"]}},
        (
            f"{C}.restartPolicy: Required value: must specify restartPolicy when restart rules are"
            " used",
        ),
        (rule(), {"container": {"restartPolicy": "OnFailure"}}),
    ),
    Row(
        "restart rules: action",
        rule(action="DoNotRestart"),
        (
            f'{C}.restartPolicyRules[0].action: Unsupported value: "DoNotRestart": supported'
            ' values: "Restart", "RestartAllContainers"',
        ),
        (rule(action="RestartAllContainers"),),
    ),
    Row(
        "restart rules: operator",
        rule(exitCodes={"operator": "Equals", "values": [3]}),
        (
            f'{C}.restartPolicyRules[0].exitCodes.operator: Unsupported value: "Equals": supported'
            ' values: "In", "NotIn"',
        ),
        (rule(exitCodes={"operator": "NotIn", "values": [0]}),),
    ),
    Row(
        "restart rules: too many codes",
        rule(exitCodes={"operator": "In", "values": [1] * 256}),
        (
            f"{C}.restartPolicyRules[0].exitCodes.values: Too many: 256: must have at most 255"
            " items",
        ),
        (rule(exitCodes={"operator": "In", "values": [1] * 255}),),
    ),
)

TEMPLATES_ONLY = (
    Row(
        "image with spaces",
        {"container": {"image": " x "}},
        (f'{C}.image: Invalid value: " x ": must not have leading or trailing whitespace',),
        (),
    ),
    Row(
        "image volume without a reference",
        {"volumes": [{"name": "v", "image": {}}]},
        ("volumes[0].image.reference: Required value",),
        (),
    ),
)


def volume(**source: Any) -> Spec:
    return {"volumes": [{"name": "v"} | source]}


def projected(*sources: Spec, **more: Any) -> Spec:
    return volume(projected={"sources": [*sources]} | more)


def token(**more: Any) -> Spec:
    return projected({"serviceAccountToken": {"path": "token"} | more})


def downward(**item: Any) -> Spec:
    return volume(downwardAPI={"items": [{"path": "f"} | item]})


def claim(**spec: Any) -> Spec:
    given = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    } | spec
    return volume(ephemeral={"volumeClaimTemplate": {"spec": given}})


def needs(kind: str, given: Spec, *missing: str, path: str = "") -> Row:
    """Return a row of a source of volumes that needs fields."""
    left = {name: value for name, value in given.items() if name not in missing}
    return Row(
        f"{kind} without {', '.join(missing)}",
        volume(**{kind: left}),
        tuple(f"volumes[0].{path or kind}.{name}: Required value" for name in missing),
        (volume(**{kind: given}),),
    )


V = "volumes[0]"
ISCSI = {"targetPortal": "192.0.2.1", "iqn": "iqn.2026-01.x.y:z", "lun": 0}
SPEC = f"{V}.ephemeral.volumeClaimTemplate.spec"
_VOLUMES = (
    Row(
        "emptyDir below zero",
        volume(emptyDir={"sizeLimit": "-1"}),
        (f"{V}.emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",),
        (volume(emptyDir={"sizeLimit": "0"}),),
    ),
    Row(
        "hostPath type",
        volume(hostPath={"path": "/x", "type": "x"}),
        (
            f'{V}.hostPath.type: Unsupported value: "x": supported values: "", "BlockDevice",'
            ' "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"',
        ),
        (volume(hostPath={"path": "/x", "type": "File"}),),
    ),
    Row(
        "secret mode",
        volume(secret={"secretName": "s", "defaultMode": 0o1000}),
        (f"{V}.secret.defaultMode: Invalid value: 512: {MODE}",),
        (volume(secret={"secretName": "s", "defaultMode": 0o777}),),
    ),
    Row(
        "configMap item",
        volume(configMap={"name": "c", "items": [{"key": "k", "path": "..p", "mode": -1}]}),
        (
            f"{V}.configMap.items[0].path: Invalid value: \"..p\": must not start with '..'",
            f"{V}.configMap.items[0].mode: Invalid value: -1: {MODE}",
        ),
        (volume(configMap={"name": "c", "items": [{"key": "k", "path": "a/..p", "mode": 0}]}),),
    ),
    Row(
        "downwardAPI fieldPath",
        downward(fieldRef={"fieldPath": "status.podIP"}),
        (
            f'{V}.downwardAPI.fieldRef.fieldPath: Unsupported value: "status.podIP": supported'
            f" values: {FILE_FIELDS}",
        ),
        (
            downward(fieldRef={"fieldPath": "metadata.labels"}),
            downward(fieldRef={"fieldPath": "metadata.labels['a']"}),
        ),
    ),
    Row(
        "downwardAPI of nothing",
        downward(),
        (f"{V}.downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",),
        (downward(fieldRef={"fieldPath": "metadata.uid"}),),
    ),
    Row(
        "downwardAPI resource of no container",
        downward(resourceFieldRef={"resource": "limits.cpu"}),
        (f"{V}.downwardAPI.resourceFieldRef.containerName: Required value",),
        (downward(resourceFieldRef={"resource": "limits.cpu", "containerName": "c"}),),
    ),
    Row(
        "token for less than ten minutes",
        token(expirationSeconds=599),
        (
            f"{V}.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599:"
            " may not specify a duration less than 10 minutes",
        ),
        (token(expirationSeconds=600), token()),
    ),
    Row(
        "token for more than 2^32 seconds",
        token(expirationSeconds=2**32 + 1),
        (
            f"{V}.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value:"
            f" {2**32 + 1}: may not specify a duration larger than 2^32 seconds",
        ),
        (token(expirationSeconds=2**32),),
    ),
    Row(
        "token above its volume",
        token(path="../token"),
        (f"{V}.projected.path: Invalid value: \"../token\": must not contain '..'",),
        (token(path="a/token"),),
    ),
    Row(
        "projected: one path of two",
        projected(
            {"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}},
            {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
        ),
        (f'{V}.projected: Invalid value: "c": conflicting duplicate paths',),
        (projected({"secret": {"name": "s"}}, {"configMap": {"name": "c"}}),),
    ),
    Row(
        "projected: two in one",
        projected({"secret": {"name": "s"}, "configMap": {"name": "c"}}),
        (
            f"{V}.projected.sources[0]: Forbidden: may not specify more than 1 volume type per"
            " source",
        ),
        (projected({"secret": {"name": "s"}}, defaultMode=0),),
    ),
    needs("nfs", {"server": "s", "path": "/p"}, "server"),
    Row(
        "nfs path",
        volume(nfs={"server": "s", "path": "p"}),
        (f'{V}.nfs.path: Invalid value: "p": must be an absolute path',),
        (volume(nfs={"server": "s", "path": "/p"}),),
    ),
    needs("persistentVolumeClaim", {"claimName": "c"}, "claimName"),
    needs("iscsi", ISCSI, "targetPortal"),
    Row(
        "iscsi name and number",
        volume(iscsi=ISCSI | {"iqn": "x", "lun": 256}),
        (
            f'{V}.iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or'
            " naa",
            f"{V}.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
        ),
        (volume(iscsi=ISCSI | {"iqn": "eui.0123456789abcdef", "lun": 255}),),
    ),
    Row(
        "csi driver",
        volume(csi={"driver": "a_b"}),
        (f'{V}.csi.driver: Invalid value: "a_b": {SUBDOMAIN}',),
        (volume(csi={"driver": "A.b"}),),
    ),
    Row(
        "image pullPolicy",
        volume(image={"reference": "i", "pullPolicy": "x"}),
        (
            f'{V}.image.pullPolicy: Unsupported value: "x": supported values: "Always",'
            ' "IfNotPresent", "Never"',
        ),
        (volume(image={"reference": "i"}), volume(image={"reference": "i:1"})),
    ),
    needs("ephemeral", claim()["volumes"][0]["ephemeral"], "volumeClaimTemplate"),
    Row(
        "ephemeral without modes",
        claim(accessModes=[]),
        (f"{SPEC}.accessModes: Required value: at least 1 access mode is required",),
        (claim(),),
    ),
    Row(
        "ephemeral of no size",
        claim(resources={}),
        (f"{SPEC}.resources[storage]: Required value",),
        (claim(volumeMode="Block"),),
    ),
    Row(
        "ephemeral of size zero",
        claim(resources={"requests": {"storage": "0"}}),
        (f'{SPEC}.resources[storage]: Invalid value: "0": must be greater than zero',),
        (claim(resources={"requests": {"storage": "1"}}),),
    ),
    needs("gitRepo", {"repository": "r", "directory": "."}, "repository"),
    Row(
        "gitRepo directory",
        volume(gitRepo={"repository": "r", "directory": "../x"}),
        (f"{V}.gitRepo.directory: Invalid value: \"../x\": must not contain '..'",),
        (volume(gitRepo={"repository": "r", "directory": "..x"}),),
    ),
    needs("gcePersistentDisk", {"pdName": "p"}, "pdName", path="persistentDisk"),
    needs("awsElasticBlockStore", {"volumeID": "v", "partition": 0}, "volumeID"),
    needs("glusterfs", {"endpoints": "e", "path": "p"}, "endpoints", "path"),
    needs("rbd", {"monitors": ["m"], "image": "i"}, "monitors", "image"),
    needs("cephfs", {"monitors": ["m"]}, "monitors"),
    needs("cinder", {"volumeID": "v"}, "volumeID"),
    needs("azureFile", {"secretName": "s", "shareName": "h"}, "secretName", "shareName"),
    needs("azureDisk", {"diskName": "d", "diskURI": "https://x"}, "diskName"),
    needs("vsphereVolume", {"volumePath": "p"}, "volumePath"),
    needs("portworxVolume", {"volumeID": "v"}, "volumeID"),
    needs("scaleIO", {"gateway": "g", "system": "s", "volumeName": "v"}, "gateway", "system"),
    needs("storageos", {"volumeName": "v"}, "volumeName"),
    needs("quobyte", {"registry": "r:1", "volume": "v"}, "volume"),
    needs("flexVolume", {"driver": "d/d", "options": {"x.io/a": "b"}}, "driver"),
    Row(
        "flocker of two",
        volume(flocker={"datasetName": "a", "datasetUUID": "b"}),
        (
            f'{V}.flocker: Invalid value: "resource": datasetName and datasetUUID can not be'
            " specified simultaneously",
        ),
        (volume(flocker={"datasetName": "a"}),),
    ),
    Row(
        "fc without a number",
        volume(fc={"targetWWNs": ["w"]}),
        (f"{V}.fc.lun: Required value: lun is required if targetWWNs is specified",),
        (volume(fc={"targetWWNs": ["w"], "lun": 0}), volume(fc={"wwids": ["w"]})),
    ),
    Row(
        "two sources",
        volume(emptyDir={}, secret={"secretName": "s"}),
        (f"{V}.secret: Forbidden: may not specify more than 1 volume type",),
        (volume(secret={"secretName": "s"}),),
    ),
)


def tolerate(**more: Any) -> Spec:
    return {"tolerations": [{"key": "k"} | more]}


def spread(**more: Any) -> Spec:
    given = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"a": "b"}},
    } | more
    return {"topologySpreadConstraints": [given]}


def node(how: str = "matchExpressions", **more: Any) -> Spec:
    given = {"key": "k", "operator": "In", "values": ["v"]} | more
    terms = {"nodeSelectorTerms": [{how: [given]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def windows(**options: Any) -> Spec:
    return {"securityContext": {"windowsOptions": options}}


def of_windows(**spec: Any) -> Spec:
    return {"os": {"name": "windows"}} | spec


S = "topologySpreadConstraints[0]"
N = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]"
W = "securityContext.windowsOptions"
_SPECS = (
    Row(
        "procMount Unmasked with the users of the host",
        {"container": {"securityContext": {"procMount": "Unmasked"}}},
        (
            f'{C}.securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false'
            " to use `Unmasked`",
        ),
        ({"container": {"securityContext": {"procMount": "Unmasked"}}, "hostUsers": False},),
    ),
    Row(
        "hostUsers false with the network of the host",
        {"hostUsers": False, "hostNetwork": True},
        ("hostNetwork: Forbidden: when `hostUsers` is false",),
        ({"hostUsers": False}, {"hostUsers": True, "hostNetwork": True}),
    ),
    Row(
        "hostnameOverride that is no name",
        {"hostnameOverride": "A_b"},
        (f'hostnameOverride: Invalid value: "A_b": {SUBDOMAIN}',),
        ({"hostnameOverride": "a.b"},),
    ),
    Row(
        "hostnameOverride too long",
        {"hostnameOverride": "a" * 65},
        ("hostnameOverride: Too long: may not be more than 64 bytes",),
        ({"hostnameOverride": "a" * 64},),
    ),
    Row(
        "hostnameOverride of the host",
        {"hostnameOverride": "a", "hostNetwork": True},
        ("hostnameOverride: Forbidden: may not be specified when hostNetwork is true",),
        ({"hostnameOverride": "a", "setHostnameAsFQDN": False},),
    ),
    Row(
        "hostnameOverride and setHostnameAsFQDN",
        {"hostnameOverride": "a", "setHostnameAsFQDN": True},
        ("hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",),
        ({"setHostnameAsFQDN": True},),
    ),
    Row(
        "windows options for linux",
        windows(runAsUserName="u") | {"os": {"name": "linux"}},
        (f"{W}: Forbidden: windows options cannot be set for a linux pod",),
        (windows(runAsUserName="u"), windows(runAsUserName="u") | {"os": {"name": "windows"}}),
    ),
    Row(
        "linux options for windows",
        of_windows(
            securityContext={"fsGroup": 0},
            shareProcessNamespace=False,
            container={"securityContext": {"privileged": False}},
        ),
        (
            "securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
            "shareProcessNamespace: Forbidden: cannot be set for a windows pod",
            f"{C}.securityContext.privileged: Forbidden: cannot be set for a windows pod",
        ),
        (of_windows(container={"securityContext": {"runAsNonRoot": True}}),),
    ),
    Row(
        "windows user with a wrong domain",
        windows(runAsUserName="a:b\\u"),
        (
            f"{W}.runAsUserName: Invalid value: \"a:b\\\\u\": runAsUserName's Domain doesn't match"
            " the NetBios nor the DNS format",
        ),
        (windows(runAsUserName="NT AUTHORITY\\SYSTEM"), windows(runAsUserName="a.b\\u")),
    ),
    Row(
        "windows user empty",
        windows(runAsUserName=""),
        (f'{W}.runAsUserName: Invalid value: "": runAsUserName cannot be an empty string',),
        (windows(runAsUserName="u v"),),
    ),
    Row(
        "windows user of dots",
        windows(runAsUserName=". ."),
        (
            f'{W}.runAsUserName: Invalid value: ". .": runAsUserName\'s User cannot contain only'
            " periods or spaces",
        ),
        (windows(runAsUserName=".a"),),
    ),
    Row(
        "windows credentials",
        windows(gmsaCredentialSpecName="A_", gmsaCredentialSpec=""),
        (
            f'{W}.gmsaCredentialSpecName: Invalid value: "A_": {SUBDOMAIN}',
            f'{W}.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty'
            " string",
        ),
        (windows(gmsaCredentialSpecName="a", gmsaCredentialSpec="{}"),),
    ),
    Row(
        "windows host process without its network",
        windows(hostProcess=True),
        (
            "hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any"
            " hostProcess containers",
        ),
        (windows(hostProcess=True) | {"hostNetwork": True}, windows(hostProcess=False)),
    ),
    Row(
        "toleration value",
        tolerate(value="a b"),
        (f'tolerations[0].operator: Invalid value: "a b": {LABEL}',),
        (tolerate(value="a.b"), tolerate(operator="Equal")),
    ),
    Row(
        "minDomains without DoNotSchedule",
        spread(minDomains=1, whenUnsatisfiable="ScheduleAnyway"),
        (
            f"{S}.minDomains: Invalid value: 1: can only use minDomains if"
            " whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
        ),
        (spread(minDomains=1),),
    ),
    Row(
        "minDomains zero",
        spread(minDomains=0),
        (f"{S}.minDomains: Invalid value: 0: must be greater than zero",),
        (spread(minDomains=2),),
    ),
    Row(
        "spread policies",
        spread(nodeAffinityPolicy="x", nodeTaintsPolicy="y"),
        (
            f'{S}.nodeAffinityPolicy: Unsupported value: "x": supported values: "Honor", "Ignore"',
            f'{S}.nodeTaintsPolicy: Unsupported value: "y": supported values: "Honor", "Ignore"',
        ),
        (spread(nodeAffinityPolicy="Honor", nodeTaintsPolicy="Ignore"),),
    ),
    Row(
        "matchLabelKeys of no selector",
        spread(matchLabelKeys=["k"], labelSelector=None),
        (f"{S}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",),
        (spread(matchLabelKeys=["k"]),),
    ),
    Row(
        "node affinity value",
        node(values=["a b"]),
        (f'{N}.matchExpressions[0].values[0]: Invalid value: "a b": {LABEL}',),
        (node(values=["a.b"]),),
    ),
    Row(
        "node affinity by two names",
        node("matchFields", key="metadata.name", values=["a", "b"]),
        (
            f"{N}.matchFields[0].values: Required value: must be only one value when `operator` is"
            " 'In' or 'NotIn' for node field selector",
        ),
        (node("matchFields", key="metadata.name", values=["a"]),),
    ),
    Row(
        "requests of a Pod below those of its containers",
        whole("2", requests={"cpu": "1500m"}),
        (
            'resources.requests[cpu]: Invalid value: "1500m": must be greater than or equal to'
            " aggregate container requests of 2",
        ),
        (whole("2", requests={"cpu": "2"}), whole("2", requests={"memory": "1Gi"})),
    ),
    Row(
        "limit of a container above its Pod's",
        whole("1", limits={"cpu": "500m"}, requests={"memory": "1", "cpu": "500m"}),
        (
            'resources.requests[cpu]: Invalid value: "500m": must be greater than or equal to'
            " aggregate container requests of 1",
            'resources.containers[0][cpu].limits: Invalid value: "1": must be less than or equal'
            " to pod limits of 500m",
        ),
        (whole("1", limits={"cpu": "1"}),),
    ),
    Row(
        "huge pages of a Pod below those of its containers",
        whole(
            "1",
            "hugepages-2Mi",
            limits={"cpu": "1", "hugepages-2Mi": "1Mi"},
            requests={"cpu": "1", "hugepages-2Mi": "1Mi"},
        ),
        (
            'resources.limits[hugepages-2Mi]: Invalid value: "1Mi": 1Mi is not positive integer'
            " multiple of hugepages-2Mi",
            'resources.requests[hugepages-2Mi]: Invalid value: "1Mi": 1Mi is not positive integer'
            " multiple of hugepages-2Mi",
            'resources.requests[hugepages-2Mi]: Invalid value: "1Mi": must be greater than or equal'
            " to aggregate container requests of 4Mi",
            'resources.limits[hugepages-2Mi]: Invalid value: "1Mi": must be greater than or equal'
            " to aggregate container limits of 4Mi",
            'resources.containers[0][hugepages-2Mi].limits: Invalid value: "4Mi": must be less'
            " than or equal to pod limits of 1Mi",
        ),
        (whole("1", "hugepages-2Mi", limits={"cpu": "1", "hugepages-2Mi": "4Mi"}),),
    ),
    Row(
        "preemptionPolicy",
        {"preemptionPolicy": "x"},
        (
            'preemptionPolicy: Unsupported value: "x": supported values: "Never",'
            ' "PreemptLowerPriority"',
        ),
        ({"preemptionPolicy": "Never"},),
    ),
)

CONTAINERS = (*_ENV, *_MOUNTS, *_RESOURCES, *_PROBES)
PODS = (*CONTAINERS, *_VOLUMES, *_SPECS)
