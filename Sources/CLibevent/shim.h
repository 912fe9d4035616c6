// libevent 2.1 as Swift sees it: the public headers that ElemtaReactor calls, nothing more.
#ifndef ELEMTA_CLIBEVENT_SHIM_H
#define ELEMTA_CLIBEVENT_SHIM_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/thread.h>
#include <event2/util.h>

#endif
