"""What plugins can do to whoever imports them, as two hundred of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import dedent, indent


@dataclass(frozen=True)
class Hostile:
    """A plugin that does harm.

    :param words: part of the reason that has to be given
    :param metadata: what stands in files of its distribution instead
    """

    source: str
    words: str = ""
    state: str = "quarantined"
    requires: tuple[str, ...] = ()
    entry: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def hook(body: str, name: str = "flowdapt_executors", takes: str = "") -> str:
    """Return a hook implementation."""
    return f"@hookimpl\ndef {name}({takes}):\n{indent(dedent(body), '    ')}\n"


#: Ends the process, or never ends itself.
FATAL = {
    "exits": ("import os; os._exit(3)", "exited with status 3 while importing"),
    "pretends": ("import os; os._exit(0)", "exited with status 0 while importing"),
    "pretends_well": ("import os; os._exit(41)", "exited with status 41 while importing"),
    "exits_late": (hook("import os; os._exit(4)"), "exited with status 4 while importing"),
    "execs": ("import os; os.execv('/bin/true', ['true'])", "exited with status 0 while importing"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV while importing"),
    "aborts": ("import os; os.abort()", "killed by SIGABRT while importing"),
    "kills": ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL while importing"),
    "terminates": ("import os; os.kill(os.getpid(), 15)", "killed by SIGTERM while importing"),
    "alarms": (
        "import signal; signal.setitimer(signal.ITIMER_REAL, 0.01)\nwhile True: pass",
        "killed by SIGALRM while importing",
    ),
    "overflows": (
        "import sys; sys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
        "killed by SIGSEGV while importing",
    ),
    "loops": ("while True: pass", "import took longer than"),
    "loops_in_c": ("sum(iter(int, 1))", "import took longer than"),
    "loops_late": (hook("while True: pass"), "import took longer than"),
    "never_ends": (
        hook("from itertools import repeat\nreturn repeat(Provider('x', 'x:X'))"),
        "import took longer than",
    ),
    "ignores_signals": (
        "import signal\nfor n in signal.valid_signals() - {9, 19}:\n    "
        "signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        "import took longer than",
    ),
    "blocks_signals": (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
        "while True: pass",
        "import took longer than",
    ),
    "waits": ("import threading; threading.Event().wait()", "import took longer than"),
    "asks": ("input('what is your name? ')", "import took longer than"),
    "reads": ("import sys; sys.stdin.read()", "import took longer than"),
    "stuck": (
        "import threading\nx = threading.Lock(); x.acquire(); x.acquire()",
        "took longer than",
    ),
    "hogs_memory": ("hog = bytearray(6 << 30)", "MemoryError while importing"),
    "hogs_bit_by_bit": (
        "import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE))",
        "OSError while importing",
    ),
    "hogs_the_disk": (
        "import tempfile\nwith tempfile.TemporaryFile() as x:\n    x.truncate(1 << 30)",
        "OSError while importing",
    ),
    "hogs_late": (hook("return bytearray(6 << 30)"), "MemoryError while importing"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt while importing"),
    "equals_all": (
        "class All:\n    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 1\nfor_all = All()",
        "an object that equals all others",
    ),
    "exits_when_looked_at": (
        "import os\nclass Look:\n    @property\n    def anything(self): os._exit(5)\nlook = Look()",
        "exited with status 5 while importing",
    ),
}

#: Raises, which a process survives.
RAISING = {
    "import_error": ("import no_such_library", "ModuleNotFoundError"),
    "syntax_error": ("def (", "SyntaxError"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "leaves_well": ("import sys; sys.exit()", "import failed: SystemExit"),
    "leaves_talking": ("raise SystemExit('bye\\nbye')", "SystemExit: bye bye"),
    "stops_generators": ("raise GeneratorExit", "GeneratorExit"),
    "cancels": ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
    "runs_dry": ("raise StopIteration", "StopIteration"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "divides": ("1 / 0", "ZeroDivisionError"),
    "asserts": ("assert False, 'no'", "AssertionError: no"),
    "decodes": ("b'\\xff'.decode()", "UnicodeDecodeError"),
    "groups": ("raise ExceptionGroup('all', [OSError(), ValueError()])", "ExceptionGroup"),
    "chatters": ("raise ValueError('x' * (1 << 20))", "ValueError: xxx"),
    "rings": ("raise ValueError('\\x1b[2J\\x07')", "import failed: ValueError"),
    "mute": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "import failed: Mute",
    ),
    "own_base": ("class Own(BaseException): pass\nraise Own('mine')", "import failed: Own: mine"),
    "chains": (
        "e = None\nfor n in range(500):\n    x = ValueError(n); x.__cause__ = e; e = x\nraise e",
        "import failed: ValueError: 499",
    ),
    "reports_bugs": ("raise SystemError('internal')", "SystemError: internal"),
    "lacks_files": ("open('/no/such/file')", "FileNotFoundError"),
    "lacks_names": ("from flowdapt.plugins import no_such_name", "ImportError"),
    "hangs_up": ("raise BrokenPipeError", "BrokenPipeError"),
}

#: Offers what is none, or what is another's.
OFFERING = {
    "takes_too_much": (hook("return []", takes="settings"), "PluginValidationError"),
    "misspells": (hook("return []", "flowdapt_executers"), "did you mean 'flowdapt_executors'"),
    "raises": (hook("raise OSError('gone')"), "OSError: gone"),
    "leaves_late": (hook("raise SystemExit(0)"), "SystemExit: 0"),
    "recurses_late": (hook("return flowdapt_executors()"), "RecursionError"),
    "returns_a_number": (hook("return 42"), "returned 42, not providers"),
    "returns_text": (hook("return 'ray'"), "not providers"),
    "returns_nothing": (hook("pass"), "returned None, not providers"),
    "returns_a_mapping": (hook("return {'ray': 1}"), "not providers"),
    "returns_a_type": (hook("return Provider"), "not providers"),
    "returns_itself": (hook("return [flowdapt_executors]"), "not providers"),
    "returns_an_object": (hook("return [Provider('x', print)]"), "target is 'package.module"),
    "returns_no_name": (hook("return [Provider('', 'x:X')]"), "is not sound"),
    "returns_no_address": (hook("return [Provider('x', 'x')]"), "is not sound"),
    "returns_a_subclass": (
        "class Moody(Provider):\n    def __getattribute__(self, name): raise OSError\n"
        + hook("return [Moody('x', 'x:X')]"),
        "its hooks are refused",
    ),
    "yields_and_raises": (
        hook("yield Provider('yr', 'x:X')\nraise OSError('half')"),
        "OSError: half",
    ),
    "awaits": ("@hookimpl\nasync def flowdapt_event(event): pass", "is asynchronous"),
    "awaits_offers": ("@hookimpl\nasync def flowdapt_services(): return []", "is asynchronous"),
    "wraps": ("@hookimpl(wrapper=True)\ndef flowdapt_executors(): return (yield)", "not providers"),
    "takes_a_command": (
        hook("return [Provider('serve', 'x:x')]", "flowdapt_commands"),
        "command 'serve' is offered by flowdapt_cli and takes_a_command",
    ),
    "takes_an_executor": (
        hook("return [Provider('local', 'x:x')]"),
        "offered by flowdapt_local and",
    ),
    "takes_a_storage": (
        hook("return [Provider('mine', 'x:x', aliases=('sqlite',))]", "flowdapt_storages"),
        "storage 'sqlite' is offered by flowdapt_sqlite and takes_a_storage",
    ),
    "offers_once": (hook("return [Provider('same', 'x:x')]"), ""),
    "offers_twice": (hook("return [Provider('same', 'x:x')]"), "offered by offers_once and"),
    "specifies_again": (
        "import pluggy\n@pluggy.HookspecMarker('flowdapt')\ndef flowdapt_executors(what): ...",
        "import failed: ValueError",
    ),
    "hooks_in_words": ("flowdapt_hooks_version = 'newest'", "TypeError"),
}

#: Written over with something that fails.
REPLACED = {
    "builtins": "__import__ open len isinstance print getattr Exception dict __build_class__",
    "json": "dumps loads JSONEncoder.encode",
    "json.decoder": "JSONDecoder.decode",
    "asyncio": "run sleep create_task Event.wait",
    "asyncio.base_events": "BaseEventLoop.call_soon",
    "concurrent.futures": "ThreadPoolExecutor.submit",
    "contextlib": "suppress ExitStack.__exit__",
    "dataclasses": "dataclass",
    "datetime": "datetime",
    "enum": "Enum.__new__",
    "fcntl": "flock",
    "functools": "wraps",
    "importlib": "import_module",
    "importlib.metadata": "distributions EntryPoint.load",
    "inspect": "signature",
    "io": "open",
    "logging": "getLogger Logger.warning Logger._log",
    "os": "stat replace write getpid",
    "os.path": "join exists",
    "pathlib": "Path.read_text Path.mkdir",
    "pickle": "dumps loads",
    "queue": "Queue.get",
    "re": "match compile",
    "select": "select",
    "shutil": "rmtree",
    "signal": "signal",
    "socket": "socket",
    "sqlite3": "connect",
    "subprocess": "Popen run",
    "sys": "exit exc_info",
    "tempfile": "mkstemp",
    "threading": "Thread.start Lock",
    "time": "monotonic time",
    "traceback": "format_exception",
    "uuid": "uuid4",
    "weakref": "ref",
    "pluggy": "PluginManager.register PluginManager.get_plugin HookimplMarker",
    "pydantic": "BaseModel.model_validate BaseModel.__init__",
    "starlette.routing": "Route",
    "starlette.applications": "Starlette.__call__",
    "typer": "Typer",
    "typer.core": "TyperGroup.invoke",
    "orjson": "dumps",
    "yaml": "safe_load",
    "uvicorn": "Server.serve",
    "httpx": "Client.send",
    "flowdapt.hooks": "load",
    "flowdapt.plugins": "Plugins.list Plugins.resolve _failure_of",
    "flowdapt.engine": "Engine.submit",
    "flowdapt.server": "Server.__aenter__",
    "flowdapt.errors": "nearest",
    "flowdapt_cli.app": "program",
    "flowdapt_sqlite.storage": "SqliteStorage.start",
    "flowdapt_probe.verdicts": "judge",
    "flowdapt_rest.service": "RestService.start",
}

_REPLACE = """
from importlib import import_module as bring
holder = bring({module!r})
*path, name = {name!r}.split(".")
for part in path:
    holder = getattr(holder, part)
def fake(*args, **options):
    raise RuntimeError("no more")
setattr(holder, name, fake)
"""

#: Changes to the process as a whole, and how they are called.
SURROUNDINGS = {
    "chdirs": ("import os; os.chdir('/')", "the working directory"),
    "umask": ("import os; os.umask(0o777)", "the mask for new files"),
    "no_output": ("import os; os.close(1)", "standard output"),
    "other_output": ("import os; os.dup2(os.open('/dev/null', 1), 1)", "standard output"),
    "closes_output": ("import sys; sys.stdout.close()", "standard error"),
    "no_errors": ("import sys; sys.stderr = None", "standard error"),
    "no_term": ("import signal as s; s.signal(s.SIGTERM, s.SIG_IGN)", "handlers of signals"),
    "no_int": ("import signal as s; s.signal(s.SIGINT, lambda *a: 0)", "handlers of signals"),
    "no_children": ("import signal as s; s.signal(s.SIGCHLD, s.SIG_IGN)", "handlers of signals"),
    "mask": ("import signal as s; s.pthread_sigmask(0, {s.SIGTERM})", "signals are blocked"),
    "alarm": ("import signal; signal.alarm(60)", "sends SIGALRM"),
    "no_environment": ("import os; os.environ.clear()", "variables"),
    "no_home": ("import os; os.environ['HOME'] = '/nowhere'", "variables"),
    "own_setting": ("import os; os.environ['FLOWDAPT__RPC__API__PORT'] = 'x'", "variables"),
    "no_path": ("import os; os.environ['PATH'] = ''", "PATH, by taking out what was there"),
    "no_depth": ("import sys; sys.setrecursionlimit(60)", "how deep calls may go"),
    "no_turns": ("import sys; sys.setswitchinterval(1e6)", "how threads take turns"),
    "traces": ("import sys; sys.settrace(lambda *a: None)", "what traces every call"),
    "no_collection": ("import gc; gc.disable()", "whether garbage is collected"),
    "no_patience": ("import socket; socket.setdefaulttimeout(0)", "how long sockets wait"),
    "strict": ("import warnings; warnings.simplefilter('error')", "which warnings are errors"),
    "no_files": (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (4, 4))",
        "the limits of the process",
    ),
    "no_log": ("import logging; logging.disable(logging.CRITICAL)", "the log of flowdapt"),
    "own_log": (
        "import logging.config; logging.config.dictConfig({'version': 1, 'root': {}})",
        "the log of flowdapt",
    ),
    "bad_log": (
        "import logging\nclass Bad(logging.Handler):\n    def emit(self, record): raise OSError\n"
        "logging.root.addHandler(Bad())",
        "what is done with lines of the log",
    ),
    "bad_loop": (
        "import asyncio\nclass Bad(asyncio.DefaultEventLoopPolicy):\n"
        "    def new_event_loop(self): raise OSError\nasyncio.set_event_loop_policy(Bad())",
        "how asynchronous code runs",
    ),
    "no_search": ("import sys; sys.path.clear()", "sys.path, by taking out"),
    "no_finders": ("import sys; sys.meta_path.clear()", "sys.meta_path, by taking out"),
    "no_hooks": ("import sys; sys.path_hooks.clear()", "sys.path_hooks, by taking out"),
    "no_json": ("import json, sys; sys.modules['json'] = None", "the module json"),
    "own_json": ("import json, sys, types; sys.modules['json'] = types.ModuleType('json')", "json"),
    "no_module": ("import pluggy, sys; del sys.modules['pluggy']", "the module pluggy"),
    "no_modules": ("import sys; sys.modules.clear()", "import"),
    "fails_meanwhile": (
        "import json\njson.dumps = None\nraise ImportError('too late')",
        "json.dumps",
    ),
    "new_code": (
        "import json\ndef fake(*a, **k): raise OSError\njson.loads.__code__ = fake.__code__",
        "json.loads",
    ),
    "reloads": ("import importlib, json; importlib.reload(json)", "json.dumps by json.dumps"),
    "overrides": (
        "from pathlib import PosixPath\nPosixPath.exists = lambda self: 1 / 0",
        "PosixPath.exists",
    ),
}

#: What becomes of the process in the end.
ENDING = {
    "stays": (
        "import threading\nthreading.Thread(target=threading.Event().wait).start()",
        "keeps the process from ending",
    ),
    "hangs_at_the_end": (
        "import atexit, threading\natexit.register(threading.Event().wait)",
        "keeps the process from ending",
    ),
    "lies_at_the_end": ("import atexit, os\natexit.register(os._exit, 0)", "status 0 while ending"),
    "exits_at_the_end": (
        "import atexit, os\natexit.register(os._exit, 3)",
        "status 3 while ending",
    ),
    "kills_at_the_end": (
        "import atexit, os\natexit.register(os.kill, os.getpid(), 9)",
        "killed by SIGKILL while ending",
    ),
    "forks": ("import os; os.fork()", "forks the process"),
}

#: Where the entry point is not the module.
ENTRIES = {
    "fatal_equals_all": "fatal_equals_all:for_all",
    "fatal_exits_when_looked_at": "fatal_exits_when_looked_at:look",
}
_ENTRIES = "[flowdapt.plugins]\n"
#: Distributions that cannot be read as such.
UNREADABLE = {
    "nameless": ({"METADATA": "Metadata-Version: 2.1\n"}, "it says no name"),
    "empty": ({"METADATA": ""}, "metadata cannot be read"),
    "not_text": ({"METADATA": "Name: \xff"}, "UnicodeDecodeError"),
    "no_equals": ({"entry_points.txt": _ENTRIES + "nonsense\n"}, "metadata cannot be read"),
    "entries_no_text": ({"entry_points.txt": _ENTRIES + "\xff = x\n"}, "UnicodeDecodeError"),
    "zeros": ({"METADATA": "\0" * 100}, "metadata cannot be read"),
}
#: Entry points that lead nowhere.
NOWHERE = {
    "no_module": "nowhere_at_all",
    "no_attribute": "json:no_such_attribute",
    "no_address": "not a module",
    "empty_address": "",
}
REQUIRES = (
    "flowdapt<1",
    "flowdapt==0.1.52",
    "flowdapt (>=99)",
    "Flowdapt[ray]>=2,<3",
    "flowdapt!=1.*",
)

#: What cannot be told by importing them; the server starts beside them, and some are told later.
HEALTHY = {
    "told_off": hook("raise OSError('no')", "flowdapt_event", takes="event"),
    "leaves_on_events": hook("raise SystemExit", "flowdapt_event", takes="event"),
    "cancels_on_events": (
        "import asyncio\n" + hook("raise asyncio.CancelledError", "flowdapt_event", takes="event")
    ),
    "thread": (
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    ),
    "prints": "print('x' * 1000)",
    "broken_service": hook("return [Provider('bs', 'no_such:Service')]", "flowdapt_services"),
    "broken_kind": hook("return [Provider('bk', 'no_such:Kind')]", "flowdapt_kinds"),
    "broken_stage": hook("return [Provider('bt', 'no_such:Stage')]", "flowdapt_stages"),
    "broken_routes": hook("return [Provider('br', 'no_such:routes')]", "flowdapt_routes"),
    "broken_trigger": hook("return [Provider('bg', 'no_such:Rule')]", "flowdapt_triggers"),
    "service_made": (
        "def make(server, **options): raise OSError('not me')\n"
        + hook("return [Provider('sm', 'healthy_service_made:make')]", "flowdapt_services")
    ),
    "service_begun": (
        "from flowdapt.services import Service\nclass Bad(Service):\n    order = 99\n"
        "    async def start(self): raise SystemExit(3)\n    async def stop(self): pass\n"
        + hook("return [Provider('sb', 'healthy_service_begun:Bad')]", "flowdapt_services")
    ),
    "is_nothing": "",
}


def everything() -> dict[str, Hostile]:
    """Return all of them, by the name of their distribution, which is that of their module."""
    return dict(_all())


def _all() -> Iterator[tuple[str, Hostile]]:
    for prefix, kind in {
        "fatal": FATAL,
        "raising": RAISING,
        "offering": OFFERING,
        "changing": SURROUNDINGS,
        "ending": ENDING,
    }.items():
        for name, (source, words) in kind.items():
            full = name if prefix == "offering" else f"{prefix}_{name}"
            state = "quarantined" if words else "healthy"
            yield full, Hostile(source, words, state, entry=ENTRIES.get(full, ""))
    for module, names in REPLACED.items():
        for name in names.split():
            source = _REPLACE.format(module=module, name=name)
            full = f"replacing {module} {name}".replace(".", "_").replace(" ", "_")
            yield full, Hostile(source, "its import replaces ")
    for name, (metadata, words) in UNREADABLE.items():
        yield f"unreadable_{name}", Hostile("", words, metadata=metadata)
    for name, address in NOWHERE.items():
        metadata = {"entry_points.txt": f"{_ENTRIES}nowhere = {address}\n"}
        yield f"nowhere_{name}", Hostile("", "", metadata=metadata)
    for number, line in enumerate(REQUIRES):
        yield (
            f"unfit_{number}",
            Hostile("import os; os._exit(1)", "requires", "incompatible", (line,)),
        )
    yield "unfit_hooks", Hostile("flowdapt_hooks_version = 99", "needs hooks", "incompatible")
    for name, source in HEALTHY.items():
        yield f"healthy_{name}", Hostile(source, state="healthy")
