"""The rights that all containers of a Pod have, if they do not say otherwise."""

from typing import Any

from control.api.base import Model


class Sysctl(Model):
    """A kernel parameter of a Pod's namespaces."""

    name: str = ""
    value: str = ""


class PodSecurityContext(Model):
    """With which rights the containers of a Pod run, and who owns its volumes."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    fs_group_change_policy: str | None = None
    supplemental_groups: list[int] = []
    supplemental_groups_policy: str | None = None
    sysctls: list[Sysctl] = []
    se_linux_options: dict[str, str] | None = None
    se_linux_change_policy: str | None = None
    seccomp_profile: dict[str, str] | None = None
    app_armor_profile: dict[str, str] | None = None
    windows_options: dict[str, Any] | None = None
