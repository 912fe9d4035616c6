// libevent 2.1 as Swift sees it: the public headers that ElemtaReactor calls, nothing more.
#ifndef ELEMTA_CLIBEVENT_SHIM_H
#define ELEMTA_CLIBEVENT_SHIM_H

// Before libevent's headers, because those define _GNU_SOURCE: with it glibc names the member of
// fd_set otherwise than in Swift's Glibc module, and the compiler refuses two definitions of a type.
#include <sys/select.h>

// Not part of Swift's Glibc module: eventfd(2), and accept4(2), which glibc declares for _GNU_SOURCE
// only. accept(2) would cost two fcntl(2) more per connection.
#include <sys/eventfd.h>
struct sockaddr;
extern int accept4(int, struct sockaddr *, unsigned int *, int);

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#endif
