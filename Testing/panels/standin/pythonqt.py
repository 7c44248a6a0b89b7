"""The module ``qt``: PySide6 underneath, PythonQt's manners on top.

Every class of Qt gets one wrapper class, and all of them derive from ``Wrapper`` alone: that is why ``isinstance`` says
False for a parent class in PythonQt too. An attribute is looked up as PythonQt does (PythonQtClassInfo.cpp,
PythonQtInstanceWrapper.cpp): property, method or signal, enum, dynamic property, child by name.

Where it differs: Qt 6 stands underneath, Slicer 5.10 has Qt 5; everything public in PySide6 can be called, PythonQt
wraps a little less; a plain int is no enum argument of a method; overridden virtual functions are refused, not called.
"""

# ruff: noqa: N802 (the names are Qt's)

import enum
import importlib
import inspect
import logging
import operator
import os
import traceback
import types
import weakref

# The screen is chosen when the first application object is made.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import shiboken6
from PySide6 import QtCore

MODULES = tuple(importlib.import_module(f"PySide6.{name}") for name in ("QtCore", "QtGui", "QtWidgets", "QtUiTools"))

#: The C++ pointer that a signal carries, where PySide6 only knows a Python object.
POINTERS = {
    "currentNodeChanged": "vtkMRMLNode*",
    "mrmlSceneChanged": "vtkMRMLScene*",
    "nodeActivated": "vtkMRMLNode*",
    "nodeAdded": "vtkMRMLNode*",
    "nodeAddedByUser": "vtkMRMLNode*",
    "nodeAboutToBeRemoved": "vtkMRMLNode*",
}

#: What PythonQt only prints: exceptions in slots, connections to signals that do not exist. A test must not miss it.
complaints: list[str] = []

_alive = weakref.WeakValueDictionary()
_connections = {}
_classes = {}


class EnumValue(int):
    """An enum value that is an int, and still knows what PySide6 calls it."""

    def __new__(cls, member):
        self = super().__new__(cls, member.value)
        self.member = member
        return self

    def __or__(self, other):
        if isinstance(other, EnumValue) and isinstance(self.member, enum.Flag):
            return EnumValue(self.member | other.member)
        return int(self) | int(other)


def to_python(value):
    """Return what PythonQt hands to Python: wrappers for objects, ints for enums, tuples for lists."""
    if isinstance(value, enum.Enum) and isinstance(value.value, int):
        return EnumValue(value)
    if isinstance(value, list | tuple):
        return tuple(map(to_python, value))
    if isinstance(value, dict):
        return {key: to_python(item) for key, item in value.items()}
    return wrap(value) if isinstance(value, shiboken6.Object) else value


def to_qt(value):
    """Return what PySide6 wants: the object in a wrapper, the class of a wrapper class, the member of an enum."""
    if isinstance(value, Wrapper):
        return value._object
    if isinstance(value, WrapperType):
        return value._qt
    if isinstance(value, EnumValue):
        return value.member
    if isinstance(value, list | tuple):
        return [to_qt(item) for item in value]
    return guarded(value) if isinstance(value, types.FunctionType | types.MethodType) else value


def wrap(thing):
    """Return the wrapper of a PySide6 object: the same one as long as somebody holds it."""
    if not isinstance(thing, QtCore.QObject):
        return _wrapped(thing)
    address = shiboken6.getCppPointer(thing)[0]
    known = _alive.get(address)
    if known is None or not shiboken6.isValid(known._object):
        known = _alive[address] = _wrapped(thing)
    return known


def _wrapped(thing):
    wrapper = object.__new__(wrapper_class(type(thing)))
    object.__setattr__(wrapper, "_object", thing)
    return wrapper


def wrapper_class(cls):
    """Return the wrapper class of a PySide6 class."""
    if cls not in _classes:
        _classes[cls] = WrapperType(cls.__name__, (Wrapper,), {"_qt": cls, "__doc__": cls.__doc__, "__slots__": ()})
    return _classes[cls]


def guarded(slot):
    """Call a slot as PythonQt does: surplus arguments are dropped, an exception is noted and goes no further."""

    def call(*arguments):
        try:
            return slot(*map(to_python, arguments[: _wanted(slot)]))
        except Exception:
            complaints.append(f"exception in the slot {slot!r}\n{traceback.format_exc()}")
            logging.getLogger("PythonQt").exception("in a slot")

    return call


def _wanted(slot):
    """Return how many arguments a slot takes; None for all. Only functions and methods are looked into."""
    function = slot.__func__ if isinstance(slot, types.MethodType) else slot
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - isinstance(slot, types.MethodType)


class WrapperType(type):
    """The type of the wrapper classes: gives static functions and enums of the Qt class."""

    def __getattr__(cls, name):
        found = None if name.startswith("_") else _member(cls._qt, name)
        if isinstance(found, enum.Enum):
            return EnumValue(found)
        if isinstance(found, enum.EnumType):
            return types.SimpleNamespace(**{key: EnumValue(value) for key, value in found.__members__.items()})
        if isinstance(found, type):
            return wrapper_class(found)
        if callable(found):
            return Method(cls, name, found)
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class Wrapper(metaclass=WrapperType):
    """What Python sees of a Qt object."""

    __slots__ = ("__weakref__", "_object")

    def __init_subclass__(cls):
        if "_qt" in vars(cls):
            return
        overridden = [name for name in vars(cls) if name[0] != "_" and callable(getattr(cls._qt, name, None))]
        if overridden:
            raise NotImplementedError(
                f"{cls.__name__} overrides {', '.join(overridden)} of {cls._qt.__name__}: "
                "the stand-in does not call overridden functions"
            )

    def __init__(self, *arguments, **keywords):
        made = _called(type(self).__name__, self._qt, arguments, keywords)
        object.__setattr__(self, "_object", made)
        if isinstance(made, QtCore.QObject):
            _alive[shiboken6.getCppPointer(made)[0]] = self
            if _derived(self):
                made._python = self  # lives as long as its widget

    def __getattr__(self, name):
        if name.startswith("__") or name == "_object":
            raise AttributeError(name)
        here = type(self).__name__
        thing = self._object
        if not shiboken6.isValid(thing):
            raise ValueError(f"Trying to read '{name}' from a destroyed {here} object")
        found = _property(thing, name)
        if found is not None:
            return to_python(found.read(thing))
        for candidate in (name, name.removesuffix("_")):
            member = None if candidate.startswith("_") else _member(type(thing), candidate)
            if _is_signal(member):
                return SignalFunction(self, candidate)
            if isinstance(member, enum.Enum):
                return EnumValue(member)
            if callable(member):
                return Method(self, candidate, getattr(thing, candidate))
        if isinstance(thing, QtCore.QObject):
            if name in _dynamic(thing):
                return to_python(thing.property(name))
            for child in thing.children():
                if child.objectName() == name:
                    return wrap(child)
        raise AttributeError(f"{here} has no attribute named '{name}'")

    def __setattr__(self, name, value):
        here = type(self).__name__
        thing = self._object
        if not shiboken6.isValid(thing):
            raise AttributeError(f"Trying to set '{name}' on a destroyed {here} object")
        found = _property(thing, name)
        if found is not None:
            if not found.isWritable():
                raise AttributeError(f"Property '{name}' of {here} object is not writable")
            if not _write(found, thing, value):
                raise AttributeError(
                    f"Property '{name}' of type '{found.typeName()}' does not accept an object of type "
                    f"{type(value).__name__} ({value!r})"
                )
        elif hasattr(type(thing), name):
            kind = "Signal" if _is_signal(getattr(type(thing), name)) else "Slot"
            raise AttributeError(f"{kind} '{name}' can not be overwritten on {here} object")
        elif isinstance(thing, QtCore.QObject) and name in _dynamic(thing):
            thing.setProperty(name, to_qt(value))
        elif _derived(self):
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(
                f"'{name}' does not exist on {here} and creating new attributes on C++ objects is not allowed"
            )

    def __bool__(self):
        return shiboken6.isValid(self._object)

    def __eq__(self, other):
        if other is None:
            return not self
        if not isinstance(other, Wrapper):
            return False
        mine, theirs = self._object, other._object
        if isinstance(mine, QtCore.QObject) and shiboken6.isValid(mine):
            return isinstance(theirs, QtCore.QObject) and _address(mine) == _address(theirs)
        return mine is theirs or (bool(self) and bool(other) and mine == theirs)

    def __hash__(self):
        return hash(_address(self._object) if isinstance(self._object, QtCore.QObject) else self._object)

    def __repr__(self):
        return f"{type(self).__name__} (at: {id(self._object):#x})"

    def className(self):
        """Return the name of the class."""
        return type(self).__name__

    def delete(self):
        """Delete the C++ object at once."""
        shiboken6.delete(self._object)

    def connect(self, signal, receiver, slot=None):
        """Connect a signal, named by its full signature, to a callable or an object's slot; return whether it is."""
        signature = _signature(self._object, signal)
        if signature is None:
            complaints.append(f"signal '{signal}' does not exist on {type(self).__name__}")
            logging.getLogger("PythonQt").warning(complaints[-1])
            return False
        if slot is not None:
            return bool(
                QtCore.QObject.connect(self._object, QtCore.SIGNAL(signature), to_qt(receiver), QtCore.SLOT(slot))
            )
        connection = QtCore.QObject.connect(self._object, QtCore.SIGNAL(signature), guarded(receiver))
        _connections.setdefault(_address(self._object), []).append((signature, receiver, connection))
        return bool(connection)

    def disconnect(self, signal, receiver=None):
        """Undo one connection to a callable, or all of a signal; return whether there was one."""
        signature = _signature(self._object, signal)
        made = _connections.get(_address(self._object), [])
        ours = [entry for entry in made if entry[0] == signature and (receiver is None or entry[1] == receiver)]
        for entry in ours if receiver is None else ours[:1]:
            made.remove(entry)
            QtCore.QObject.disconnect(entry[2])
        return bool(ours)

    def findChildren(self, kind, name=None):
        """Return descendants of a class (or a class name); as in PythonQt, a name cuts off those below another name."""
        wanted = kind if isinstance(kind, str) else kind._qt.__name__
        found = []
        for child in self.children():
            if name is None or child.objectName == name:
                found += [child] if child.inherits(wanted) else []
                found += child.findChildren(kind, name)
        return tuple(found)


def _member(cls, name):
    """Return what a class of PySide6 has under a name; as in C++, values of its enums too."""
    enums = [item for item in vars(cls).values() if isinstance(item, enum.EnumType) and name in item.__members__]
    return enums[0][name] if enums else getattr(cls, name, None)


def _is_signal(member):
    # Not isinstance: asked of PySide6 6.12's Signal, it gives away a reference to False that it does not own.
    return type(member) is QtCore.Signal


def _derived(wrapper):
    return type(wrapper) is not _classes.get(type(wrapper)._qt)


def _address(qobject):
    return shiboken6.getCppPointer(qobject)[0]


def _dynamic(qobject):
    return [bytes(name.data()).decode() for name in qobject.dynamicPropertyNames()]


def _property(thing, name):
    """Return the QMetaProperty of a name, or None; ``name`` also stands for ``objectName``."""
    if not isinstance(thing, QtCore.QObject):
        return None
    meta = thing.metaObject()
    index = meta.indexOfProperty(name)
    if index < 0 and name == "name":
        index = meta.indexOfProperty("objectName")
    return None if index < 0 else meta.property(index)


def _write(found, thing, value):
    """Write a property after PythonQt's (lenient) conversion; return whether the value was taken."""
    convert = {"QString": str, "int": _int, "bool": _int, "double": float, "QStringList": _strings}
    try:
        converted = convert.get(found.typeName(), to_qt)(value)
    except (TypeError, ValueError):
        return False
    if found.typeName() == "bool":
        converted = bool(converted)
    if found.isEnumType() and isinstance(converted, enum.Enum):
        converted = converted.value
    return found.write(thing, converted)


def _int(value):
    return int(value) if isinstance(value, float) else operator.index(value)


def _strings(value):
    # A str is a sequence too: PythonQt makes a list of its letters, and so do we.
    return [str(item) for item in value]


def _signatures(qobject):
    """Yield the signals of an object: as PySide6 calls them, and as C++ does."""
    meta = qobject.metaObject()
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            signature = bytes(method.methodSignature().data()).decode()
            name = signature.partition("(")[0]
            yield signature, signature.replace("PyObject", POINTERS.get(name, "PyObject"))


def _signature(qobject, signal):
    """Return what PySide6 calls a signal, or None if there is none."""
    wanted = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
    return next((ours for ours, theirs in _signatures(qobject) if theirs == wanted), None)


def _called(name, function, arguments, keywords):
    """Return what PySide6 returns; what does not fit is a ValueError, and so is every argument given by its name."""
    if keywords:
        raise ValueError(f"Called {name} with keyword arguments, but called slot does not support kwargs.")
    try:
        return function(*map(to_qt, arguments))
    except TypeError as error:
        raise ValueError(f"Called {name} with wrong arguments: {arguments}\n{error}") from error


class Method:
    """A method of a Qt object, ready to be called."""

    def __init__(self, owner, name, function):
        self.owner, self.name, self.function = owner, name, function

    def __call__(self, *arguments, **keywords):
        if not self.owner:
            raise ValueError(f"Trying to call '{self.name}' on a destroyed {self.owner.className()} object")
        return to_python(_called(self.name, self.function, arguments, keywords))

    def __eq__(self, other):
        return isinstance(other, Method) and (self.owner, self.name) == (other.owner, other.name)

    def __hash__(self):
        return hash((self.owner, self.name))


class SignalFunction:
    """A signal of an object: its first overload is the one that is connected."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def _first(self):
        return next(theirs for _, theirs in _signatures(self.owner._object) if theirs.startswith(f"{self.name}("))

    def connect(self, receiver):
        """Connect to a callable."""
        return self.owner.connect(self._first(), receiver)

    def disconnect(self, receiver=None):
        """Undo the connection to a callable, or all."""
        return self.owner.disconnect(self._first(), receiver)

    def emit(self, *arguments):
        """Emit."""
        getattr(self.owner._object, self.name).emit(*map(to_qt, arguments))

    __call__ = emit


def only_named(name):
    """Return a class that can be compared with, but not made: Slicer's own Python names more widgets than are here."""

    def refuse(self, *arguments):
        raise NotImplementedError(f"the stand-in has no {name}: add it to Testing/panels/standin")

    return type(name, (), {"__init__": refuse})


class QtModule(types.ModuleType):
    """A module of Qt classes, which are wrapped when first asked for."""

    def __init__(self, name, places, replaced):
        """Take the modules that hold the classes, and classes that stand in for theirs."""
        super().__init__(name, __doc__)
        self._places = places
        self._replaced = {cls.__name__: cls for cls in replaced}

    def __getattr__(self, name):
        found = self._replaced.get(name)
        found = found or next(filter(None, (getattr(place, name, None) for place in self._places)), None)
        if not isinstance(found, type):
            raise AttributeError(f"the stand-in has no {self.__name__}.{name}")
        return wrapper_class(found)


class NamingModule(QtModule):
    """The same, where every class that is missing can at least be named."""

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
            return only_named(name)


def forget():
    """Forget connections and complaints, at the end of a test."""
    _connections.clear()
    complaints.clear()
