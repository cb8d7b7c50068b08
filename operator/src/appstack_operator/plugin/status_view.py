"""A report as a tree for people. Pure."""

from collections.abc import Iterator

from appstack_operator.plugin.stack_report import Item, Part, Report, Statement
from appstack_operator.plugin.text import Node, Palette, Tone, draw, plain

KINDS = {"PersistentVolumeClaim": "claim", "CronJob": "cron job"}


def render_report(report: Report, palette: Palette) -> Iterator[str]:
    """The tree, line by line."""
    title = palette.paint(f"AppStack {report.namespace}/{report.name}", Tone.STRONG)
    words = [f"generation {report.generation}", f"{report.age} old"]
    words += ["paused"] if report.is_paused else []
    words += ["being deleted"] if report.is_deleting else []
    children = [Node(palette.paint(report.operator.message, Tone.BAD))] if report.operator.is_away else []
    children += [statement_node(each, each.type, palette) for each in report.overall]
    if not report.overall:
        children.append(Node(palette.paint("no conditions yet: the operator has not looked at it", Tone.CARE)))
    children += [part_node(part, palette) for part in report.parts]
    yield from draw(Node(f"{title}  {', '.join(words)}", children))
    for note in report.notes:
        yield palette.paint(f"! {plain(note)}", Tone.CARE)


def tone_of(statement: Statement) -> Tone:
    """Green, red, or yellow for work under way and risks."""
    if statement.is_fine:
        return Tone.GOOD
    return Tone.BAD if statement.status == "False" or statement.type == "Stalled" else Tone.CARE


def statement_node(statement: Statement, title: str, palette: Palette, summary: str = "") -> Node:
    """A condition; where there is something to do, with its sentence and its runbook."""
    verdict = statement.status if statement.is_fine else f"{statement.status} {statement.reason}"
    text = f"{title}: {palette.paint(verdict, tone_of(statement))} for {statement.since}"
    if summary:
        text += f"  {plain(summary)}"
    children = []
    if not statement.is_fine:
        if statement.message:
            children.append(Node(plain(statement.message)))
        children.append(Node(palette.paint(f"{statement.meaning} See {statement.runbook}".strip(), Tone.FAINT)))
    return Node(text, children)


def part_node(part: Part, palette: Palette) -> Node:
    """A component with its objects."""
    if part.statement:
        node = statement_node(part.statement, part.title, palette, part.summary)
    else:
        node = Node(f"{part.title}: {palette.paint('Unknown', Tone.CARE)}  {part.summary}".rstrip())
    return Node(node.text, [*node.children, *(item_node(item, palette) for item in part.items)])


def item_node(item: Item, palette: Palette) -> Node:
    """An object, what is wrong with it, and what hangs on it."""
    state = palette.paint(plain(item.state), Tone.PLAIN if item.is_good else Tone.BAD)
    causes = [Node(palette.paint(plain(item.cause), Tone.BAD))] if item.cause else []
    kind = KINDS.get(item.kind, item.kind.lower() if item.kind in ("Pod", "Job") else item.kind)
    return Node(f"{kind} {item.name}  {state}", [*causes, *(item_node(each, palette) for each in item.items)])
