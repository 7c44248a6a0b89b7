"""What ``slicer.parameterNodeWrapper`` gives to a module: typed fields over a real vtkMRMLScriptedModuleNode.

Stores as Slicer does (Base/Python/slicer/parameterNodeWrapper), so that a scene means the same in both. Fields: bool,
int, float, str, Path, enums, nodes, and a choice of these with None. As in Slicer, ``X | None`` is refused
(``Optional[X]`` is not), and ``connectGui`` returns nothing: a tag comes from ``connectParametersToGui`` alone.
Not here: lists, tuples, dicts, parameter packs, made GUIs.
"""

# ruff: noqa: ARG002, ARG005, N802, N803 (names and arguments are Slicer's)

import enum
import pathlib
import types
import typing
from dataclasses import dataclass

import slicer
import vtk

from .ui import qt

SlicerParameterNamePropertyName = "SlicerParameterName"


class Default:
    """The value of a field that nobody has set."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        """The value."""
        return self._generator() if self._generator else self._value


@dataclass
class Minimum:
    """Nothing below."""

    minimum: float

    def validate(self, value):
        """Raise ValueError for what does not fit."""
        _require(value >= self.minimum, f"Value must be at least {self.minimum}, is {value}")


@dataclass
class Maximum:
    """Nothing above."""

    maximum: float

    def validate(self, value):
        """Raise ValueError for what does not fit."""
        _require(value <= self.maximum, f"Value must be at most {self.maximum}, is {value}")


@dataclass
class WithinRange:
    """Nothing outside."""

    minimum: float
    maximum: float

    def validate(self, value):
        """Raise ValueError for what does not fit."""
        _require(
            self.minimum <= value <= self.maximum,
            f"Value must be within range [{self.minimum}, {self.maximum}], is {value}",
        )


@dataclass
class Choice:
    """One of these."""

    choices: list

    def validate(self, value):
        """Raise ValueError for what does not fit."""
        _require(value in self.choices, f"Value is {value}, but must be one of {self.choices}")


@dataclass
class Decimals:
    """Decimals that a widget shows."""

    value: int


@dataclass
class SingleStep:
    """The step of a widget."""

    value: float


def _require(condition, message):
    if not condition:
        raise ValueError(message)


def _is_node(kind):
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


class _Plain:
    """A field whose value is one parameter in words."""

    def __init__(self, kind):
        self.kind = kind

    def isIn(self, node, name):
        return bool(node.HasParameter(name))

    def default(self):
        return next(iter(self.kind)) if issubclass(self.kind, enum.Enum) else self.kind()

    def accepts(self, value):
        return isinstance(value, (int, float) if self.kind is float else self.kind)

    def write(self, node, name, value):
        node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node, name):
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)

    def remove(self, node, name):
        node.UnsetParameter(name)


class _Node(_Plain):
    """A field that is a node reference; the parameter of the same name only says that it was set."""

    def default(self):
        return None

    def accepts(self, value):
        return value is None or isinstance(value, self.kind)

    def write(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)

    def remove(self, node, name):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class _Nothing(_Plain):
    """The field of None."""

    def default(self):
        return None

    def accepts(self, value):
        return value is None

    def read(self, node, name):
        return None


class _Union:
    """A field of one of several types: the parameter of one of them is there."""

    def __init__(self, members):
        self.members = members

    def isIn(self, node, name):
        return any(member.isIn(node, f"{name}_{place}") for place, member in enumerate(self.members))

    def default(self):
        return None if isinstance(self.members[-1], _Nothing) else self.members[0].default()

    def accepts(self, value):
        return any(member.accepts(value) for member in self.members)

    def write(self, node, name, value):
        # None is the business of NoneType, though a node reference would take it too.
        best = sorted(enumerate(self.members), key=lambda pair: isinstance(pair[1], _Nothing) != (value is None))
        chosen = next(place for place, member in best if member.accepts(value))
        with slicer.util.NodeModify(node):
            for place, member in enumerate(self.members):
                if place != chosen:
                    member.remove(node, f"{name}_{place}")
            self.members[chosen].write(node, f"{name}_{chosen}", value)

    def read(self, node, name):
        for place, member in enumerate(self.members):
            if member.isIn(node, f"{name}_{place}"):
                return member.read(node, f"{name}_{place}")
        return self.default()


def _field(kind):
    """Return how a type is stored; a type that cannot be raises TypeError."""
    if kind is types.NoneType:
        return _Nothing(kind)
    if _is_node(kind):
        return _Node(kind)
    if typing.get_origin(kind) is typing.Union:
        return _Union([_field(_parts(arg)[0]) for arg in typing.get_args(kind)])
    if kind in (bool, int, float, str) or (isinstance(kind, type) and issubclass(kind, enum.Enum | pathlib.PurePath)):
        return _Plain(kind)
    raise TypeError(f"Unable to create serializer for type: {kind}")


def _parts(kind):
    """Return a type and its annotations.

    Not by way of ``Annotated[kind, 0]``: typing remembers such types by equality, and ``int | None`` equals
    ``Optional[int]``.
    """
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Annotated else (kind,)


class _Parameter:
    """A field of one wrapper: its type, its rules, its default."""

    def __init__(self, annotated, assigned):
        self.unalteredType = annotated
        self.kind, *self.annotations = _parts(annotated)
        self.field = _field(self.kind)
        defaults = [item for item in self.annotations if isinstance(item, Default)]
        self.default = assigned or (defaults[0] if defaults else Default(self.field.default()))

    def write(self, node, name, value):
        if not self.field.accepts(value):
            raise (ValueError if value is None else TypeError)(
                f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'"
            )
        for rule in self.annotations:
            if hasattr(rule, "validate"):
                rule.validate(value)
        self.field.write(node, name, value)

    def read(self, node, name):
        if not self.field.isIn(node, name):
            self.field.write(node, name, self.default.value)
        return self.field.read(node, name)

    def find(self, kind):
        """Return the first annotation of a kind, or None."""
        return next((item for item in self.annotations if isinstance(item, kind)), None)


class _Connector:
    """A widget and the signal, the reader and the writer that fit a type."""

    def __init__(self, signal, read, write):
        self.signal, self.read, self.write = signal, read, write
        self.callback = None

    def onChanged(self, callback):
        if self.callback is not None:
            self.signal.disconnect(self.callback)
        self.callback = callback
        if callback is not None:
            self.signal.connect(callback)


#: Signal and property by type and class of the widget, where nothing else is to be done.
_SIMPLE = {
    (bool, "QCheckBox"): ("stateChanged", "checked"),
    (bool, "ctkCheckBox"): ("stateChanged", "checked"),
    (bool, "QPushButton"): ("toggled", "checked"),
    (int, "QSpinBox"): ("valueChanged", "value"),
    (int, "QSlider"): ("valueChanged", "value"),
    (float, "QDoubleSpinBox"): ("valueChanged", "value"),
    (float, "ctkDoubleSpinBox"): ("valueChanged", "value"),
    (float, "ctkSliderWidget"): ("valueChanged", "value"),
    (str, "QLineEdit"): ("textChanged", "text"),
    (str, "QTextEdit"): ("textChanged", "plainText"),
    (pathlib.Path, "ctkPathLineEdit"): ("currentPathChanged", "currentPath"),
    (pathlib.Path, "ctkDirectoryButton"): ("directoryChanged", "directory"),
}
_UNBOUNDED = {int: (-(2**31), 2**31 - 1), float: (float("-inf"), float("inf"))}


def _connector(widget, parameter):
    """Return what joins a widget and a field; where they do not fit, RuntimeError, as in Slicer."""
    kind, of = parameter.kind, widget.className()
    members = [arg for arg in typing.get_args(kind) or (kind,) if arg is not types.NoneType]
    if of == "qMRMLNodeComboBox" and all(map(_is_node, members)):
        widget.nodeTypes = [member().GetClassName() for member in members]
        return _Connector(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)
    if of in ("QComboBox", "ctkComboBox") and isinstance(kind, type):
        if issubclass(kind, enum.Enum):
            label = getattr(kind, "label", lambda member: member.name)
            return _choices(widget, [(label(member), member) for member in kind])
        choice = parameter.find(Choice)
        if choice is None:
            raise RuntimeError("a combo box needs the annotation Choice")
        return _choices(widget, [(str(value), value) for value in choice.choices])
    if (kind, of) not in _SIMPLE:
        raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget type '{of}'")
    if kind in _UNBOUNDED:
        _limit(widget, parameter)
    if of == "QPushButton":
        widget.checkable = True
    signal, name = _SIMPLE[kind, of]
    as_shown = str if kind is pathlib.Path else kind
    return _Connector(
        getattr(widget, signal),
        lambda: kind(getattr(widget, name)),
        lambda value: setattr(widget, name, as_shown(value)),
    )


def _choices(widget, shown):
    widget.clear()
    for label, _ in shown:
        widget.addItem(label)
    values = [value for _, value in shown]
    return _Connector(
        widget.currentIndexChanged,
        lambda: values[widget.currentIndex],
        lambda value: setattr(widget, "currentIndex", values.index(value)),
    )


def _limit(widget, parameter):
    within = parameter.find(WithinRange)
    low, high = (within or parameter.find(Minimum)), (within or parameter.find(Maximum))
    if widget.className() in ("QSlider", "ctkSliderWidget") and not (low and high):
        raise RuntimeError(f"Cannot have a connection to {widget.className()} where the type is unbounded.")
    least, most = _UNBOUNDED[parameter.kind]
    for kind, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
        if parameter.find(kind):
            setattr(widget, name, parameter.find(kind).value)
    widget.minimum = low.minimum if low else least
    widget.maximum = high.maximum if high else most


class _Wrapper:
    """What the decorator adds to a class."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._guis = {}
        self._next_tag = 0
        self._updating = False
        for name, parameter in self.allParameters.items():
            parameter.read(parameterNode, self._prefix + name)

    def _known(self, name):
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}, found {list(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name):
        return self._known(name).read(self.parameterNode, self._prefix + name)

    def setValue(self, name, value):
        self._known(name).write(self.parameterNode, self._prefix + name, value)

    def default(self, name):
        return self._known(name).default

    @classmethod
    def dataType(cls, name):
        return cls.allParameters[name].unalteredType

    def connectGui(self, gui):
        """Join all widgets that have the property SlicerParameterName. Returns nothing, as in Slicer."""
        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        """Join fields and widgets both ways; return a tag to undo it."""
        connectors = {name: _connector(widget, self._known(name)) for name, widget in mapping.items()}
        tag = self._next_tag
        self._next_tag += 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._from_gui(name, connector))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._to_gui())
        return tag

    def disconnectGui(self, tag):
        """Undo one ``connectParametersToGui``; with another tag nothing happens."""
        for connector in self._guis.pop(tag, {}).values():
            connector.onChanged(None)

    def _from_gui(self, name, connector):
        def changed():
            if not self._updating:
                with slicer.util.NodeModify(self.parameterNode):
                    self.setValue(name, connector.read())

        return changed

    def _to_gui(self):
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(cls=None):
    """Turn the annotations of a class into fields of a parameter node."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    assigned = {name: Default(getattr(cls, name)) for name in hints if hasattr(cls, name)}
    cls.allParameters = {name: _Parameter(kind, assigned.get(name)) for name, kind in hints.items()}
    for name, member in vars(_Wrapper).items():
        if name == "__init__" or not name.startswith("__"):
            if name != "__init__" and hasattr(cls, name):
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, member)
    for name in hints:
        setattr(cls, name, _property(name))
    cls._is_parameter_node_wrapper = True
    return cls


def _property(name):
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def isParameterNodeWrapper(thing):
    """Return whether a class or an object came from the decorator."""
    return getattr(thing, "_is_parameter_node_wrapper", False)


_EXPORTED = (Choice, Decimals, Default, Maximum, Minimum, SingleStep, WithinRange)


def module():
    """Return what stands in for ``slicer.parameterNodeWrapper``."""
    made = types.ModuleType("slicer.parameterNodeWrapper", __doc__)
    public = {thing.__name__: thing for thing in (*_EXPORTED, isParameterNodeWrapper, parameterNodeWrapper)}
    public["SlicerParameterNamePropertyName"] = SlicerParameterNamePropertyName
    vars(made).update(public, __all__=list(public))
    return made
