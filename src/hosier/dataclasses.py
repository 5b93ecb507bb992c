"""The standard library's `dataclass`, `field` and `replace`, with a class's functions made when they are needed.

The library writes and compiles up to seven functions for each class while its module is imported, and imports
`inspect` to do so: a third of the time that importing all of a build takes. Here a class gets its constructor when it
is called often enough, and shares all others. Type checkers see the library's own; and what the library does with
classes of its own (`asdict`, `replace`), it does with these.

Of its features those are here that are used: `frozen`, `slots`, `eq`, and of a field its default, `repr` and
`compare`. What else is asked for is a TypeError; fields are not inherited, and instances with slots are not pickled.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import is_dataclass as is_dataclass
    from dataclasses import replace as replace
else:
    from operator import attrgetter

    _MISSING = type("_Missing", (), {"__repr__": lambda self: "<factory>"})()

    class _Field:
        """One field of a class, and what `field` was told of it."""

        __slots__ = ("compare", "default", "factory", "name", "repr")

        def __init__(self, default, factory, repr, compare):
            self.name = ""
            self.default = default
            self.factory = factory
            self.repr = repr
            self.compare = compare

    def field(*, default=_MISSING, default_factory=_MISSING, repr=True, compare=True):
        """As dataclasses.field."""
        return _Field(default, default_factory, repr, compare)

    def fields(class_or_instance):
        """As dataclasses.fields: each has at least `name` and `default`."""
        return class_or_instance.__fields__

    def is_dataclass(something):
        """As dataclasses.is_dataclass."""
        return hasattr(something, "__fields__")

    class _LibrarysFields:
        """The attribute by which the library knows its classes and their fields; made when it looks."""

        __slots__ = ("_made",)

        def __init__(self):
            self._made = None

        def __get__(self, instance, owner):
            if self._made is None:
                import dataclasses

                specs = []
                for each in owner.__fields__:
                    how = {"repr": each.repr, "compare": each.compare}
                    if each.default is not _MISSING:
                        how["default"] = each.default
                    if each.factory is not _MISSING:
                        how["default_factory"] = each.factory
                    specs.append((each.name, owner.__annotations__[each.name], dataclasses.field(**how)))
                self._made = dataclasses.make_dataclass(owner.__name__, specs).__dataclass_fields__
            return self._made

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True):
        """As dataclasses.dataclass."""
        if cls is None:
            return lambda cls: _made(cls, frozen, slots, eq)
        return _made(cls, frozen, slots, eq)

    def _made(cls, frozen, slots, eq):
        body = dict(cls.__dict__)
        fields = []
        for name in body.get("__annotations__", ()):
            said = body.pop(name, _MISSING)
            fields.append(said if isinstance(said, _Field) else _Field(said, _MISSING, True, True))
            fields[-1].name = name
        names = tuple(each.name for each in fields)
        body["__fields__"] = tuple(fields)
        body["__dataclass_fields__"] = _LibrarysFields()
        body.setdefault("__match_args__", names)
        body.setdefault("__repr__", _repr([each.name for each in fields if each.repr]))
        if eq:
            values = _values([each.name for each in fields if each.compare])
            body.setdefault("__eq__", _eq(values))
            if body.get("__hash__") is None:
                body["__hash__"] = (lambda self: hash(values(self))) if frozen else None
        if frozen:
            body["__setattr__"] = _cannot_assign
            body["__delattr__"] = _cannot_delete
        body["__init__"] = _first_init(fields, frozen)
        if slots:
            body["__slots__"] = names
            body.pop("__dict__", None)
            body.pop("__weakref__", None)
            made = type(cls)(cls.__name__, cls.__bases__, body)
            made.__qualname__ = cls.__qualname__
        else:
            made = cls
            for name, value in body.items():
                if cls.__dict__.get(name, _MISSING) is not value:
                    setattr(cls, name, value)
            for each in fields:
                if each.default is not _MISSING:
                    setattr(cls, each.name, each.default)
                elif each.name in cls.__dict__:
                    delattr(cls, each.name)
        return made

    _FEW = 3

    def _first_init(fields, frozen):
        """A constructor that makes room for the real one: for a class of few values to compile that takes longer."""
        left = _FEW

        def __init__(self, /, *args, **named):
            nonlocal left
            left -= 1
            if left < 0 or not _fill(self, fields, args, named):
                for cls in type(self).__mro__:
                    if cls.__dict__.get("__init__") is __init__:  # else another thread was here before us
                        cls.__init__ = _init(cls, fields, frozen)
                type(self).__init__(self, *args, **named)

        return __init__

    def _fill(instance, fields, args, named):
        """Give an instance its values; false for arguments that are wrong, of which the real constructor will tell."""
        values = dict(zip([each.name for each in fields], args, strict=False))
        known = len(args) <= len(fields) and values.keys().isdisjoint(named)
        values.update(named)
        for each in fields:
            if each.name not in values:
                if each.default is not _MISSING:
                    values[each.name] = each.default
                elif each.factory is not _MISSING:
                    values[each.name] = each.factory()
        if not known or len(values) != len(fields) or not all(each.name in values for each in fields):
            return False
        for name, value in values.items():
            object.__setattr__(instance, name, value)
        return True

    def _init(cls, fields, frozen):
        """The constructor, as text that is compiled: none is faster to call."""
        space = {"_missing": _MISSING, "_set": object.__setattr__}
        head, body = [], []
        for each in fields:
            name = value = each.name
            if each.default is not _MISSING:
                space[f"_default_{name}"] = each.default
                head.append(f"{name}=_default_{name}")
            elif each.factory is not _MISSING:
                space[f"_factory_{name}"] = each.factory
                head.append(f"{name}=_missing")
                value = f"_factory_{name}() if {name} is _missing else {name}"
            else:
                head.append(name)
            if not frozen:
                body.append(f" self.{name} = {value}")
            elif "__slots__" in cls.__dict__:
                space[f"_set_{name}"] = cls.__dict__[name].__set__
                body.append(f" _set_{name}(self, {value})")
            else:
                body.append(f" _set(self, {name!r}, {value})")
        exec(f"def __init__({', '.join(['self', *head])}):\n" + ("\n".join(body) or " pass"), space)
        made = space["__init__"]
        made.__qualname__ = f"{cls.__qualname__}.__init__"
        made.__annotations__ = {**cls.__annotations__, "return": None}
        made.__module__ = cls.__module__
        return made

    def _values(names):
        return attrgetter(*names) if names else lambda self: ()

    def _eq(values):
        def __eq__(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return values(self) == values(other)

        return __eq__

    def _repr(names):
        def __repr__(self):
            return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

        return __repr__

    def _cannot_assign(self, name, value):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _cannot_delete(self, name):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def replace(instance, /, **changes):
        """As dataclasses.replace."""
        for name in instance.__match_args__:
            if name not in changes:
                changes[name] = getattr(instance, name)
        return type(instance)(**changes)
