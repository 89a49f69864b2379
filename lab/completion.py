"""Shell completion: the shells' scripts, and the words that depend on this machine's labs.

A shell runs podwire at every TAB, so this module imports little: it reads only the labs' files.
"""

from collections.abc import Iterator, Sequence

import click
from click.shell_completion import get_completion_class

from lab.parts import machines, node_machines
from lab.spec import LabSpec, Machine
from lab.state import all_labs, lab_dir

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PODWIRE_COMPLETE"  # as click derives it from the program's name


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def main(shell: str) -> None:
    """Print the script with which a shell completes podwire's words.

    \b
    bash: source <(podwire completion bash)         in ~/.bashrc
    zsh:  source <(podwire completion zsh)          in ~/.zshrc, after compinit
    fish: podwire completion fish | source          in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # click knows all three
    click.echo(kind(main, {}, "podwire", VARIABLE).source(), nl=False)


def complete_lab(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete the names of this machine's labs."""
    return _beginning(incomplete, [lab.name for lab in all_labs()])


def complete_machine(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the machines and the switch of the lab that ``--name`` gives."""
    spec = _spec(context)
    return _beginning(incomplete, [m.name for m in _machines(spec)] + ["switch"] * bool(spec))


def complete_logged(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the machines that run components, in the lab that ``--name`` gives."""
    return _beginning(incomplete, [m.name for m in _machines(_spec(context))])


def complete_node(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the nodes of the lab that ``--name`` gives."""
    spec = _spec(context)
    return _beginning(incomplete, [m.name for m in node_machines(spec)] if spec else [])


def complete_component(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the components of the lab that ``--name`` gives, or of one of its machines."""
    machine = context.params.get("machine")
    found = [m for m in _machines(_spec(context)) if machine in (None, m.name)]
    return _beginning(incomplete, list(dict.fromkeys(c for m in found for c in _components(m))))


def _spec(context: click.Context) -> LabSpec | None:
    return lab_dir(context.params.get("name") or "lab").spec()


def _machines(spec: LabSpec | None) -> Sequence[Machine]:
    return machines(spec) if spec else ()


def _components(machine: Machine) -> Iterator[str]:
    return (component.name for component in machine.components)


def _beginning(text: str, words: list[str]) -> list[str]:
    return [word for word in words if word.startswith(text)]
