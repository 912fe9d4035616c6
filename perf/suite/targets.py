"""Every server that can be measured, by name."""

from .bare import BareLog
from .chasquid import Chasquid
from .opensmtpd import OpenSMTPD
from .postfix import Postfix
from .target import Elemta, SmtpSink

TARGETS = {target.name: target for target in (Elemta, BareLog, SmtpSink, Postfix, OpenSMTPD, Chasquid)}
