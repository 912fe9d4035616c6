# What the Makefile includes: installing, the Debian package, the image.

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/elemta
UNITDIR ?= $(PREFIX)/lib/systemd/system
# The server's first certificate: scripts/certificate makes one.
CERTIFICATE ?= $(SYSCONFDIR)/elemta/certs/cert.pem
KEY ?= $(SYSCONFDIR)/elemta/certs/key.pem

INSTALL ?= install
# Of the shells: what completes the command line.
bash_completion := $(PREFIX)/share/bash-completion/completions/elemta
zsh_completion := $(PREFIX)/share/zsh/site-functions/_elemta
fish_completion := $(PREFIX)/share/fish/vendor_completions.d/elemta.fish
units := elemta.service elemta.socket

.PHONY: install uninstall deb package-test image-test needed-for-deb needed-for-image

install: ## into $(PREFIX): binary, man page, completions, units; the configuration unless there is one
	@test -x $(release) || { echo "$(release) isn't there: make build" >&2; exit 66; }
	$(INSTALL) -D -m 755 $(release) $(DESTDIR)$(BINDIR)/elemta
	$(INSTALL) -D -m 644 man/elemta.1 $(DESTDIR)$(MANDIR)/man1/elemta.1
	$(INSTALL) -d $(foreach file,$(bash_completion) $(zsh_completion) $(fish_completion),$(DESTDIR)$(dir $(file)))
	$(release) --generate-completion-script bash | sed '1{/^#!/d}' > $(DESTDIR)$(bash_completion)
	$(release) --generate-completion-script zsh > $(DESTDIR)$(zsh_completion)
	$(release) --generate-completion-script fish > $(DESTDIR)$(fish_completion)
	$(INSTALL) -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(DOCDIR)/docs
	sed 's|/usr/bin/elemta|$(BINDIR)/elemta|' config/elemta.service > $(DESTDIR)$(UNITDIR)/elemta.service
	$(INSTALL) -m 644 config/elemta.socket $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 644 README.md $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 644 $(wildcard docs/*.md) $(DESTDIR)$(DOCDIR)/docs
	@$(INSTALL) -d $(DESTDIR)$(SYSCONFDIR)/elemta
	@if [ -e $(DESTDIR)$(SYSCONFDIR)/elemta/elemta.yaml ]; then \
		echo "$(DESTDIR)$(SYSCONFDIR)/elemta/elemta.yaml stays as it is"; \
	else \
		packaging/configuration $(CERTIFICATE) $(KEY) > $(DESTDIR)$(SYSCONFDIR)/elemta/elemta.yaml; \
	fi

uninstall: ## take away what `make install` has installed; configuration, queue and log stay
	rm -f $(addprefix $(DESTDIR),$(BINDIR)/elemta $(MANDIR)/man1/elemta.1 $(bash_completion) \
		$(zsh_completion) $(fish_completion) $(addprefix $(UNITDIR)/,$(units)) \
		$(addprefix $(DOCDIR)/,README.md $(wildcard docs/*.md)))

deb: needed-for-deb build ## the Debian package, in .build-deb
	packaging/deb $(release)

package-test: needed-for-image build ## the package in a Debian of its own: installed, used, removed, purged (root, debootstrap, network)
	CHROOT=yes $(acceptance) --binary $(release) test_package_chroot

image-test: needed-for-image ## build the image with buildah, run it, send a message through it (root, debootstrap, network)
	IMAGE=yes $(acceptance) --binary $(release) test_image

needed-for-deb:
	@scripts/dependencies deb

needed-for-image:
	@scripts/dependencies image
