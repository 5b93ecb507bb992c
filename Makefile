# make demo: what Hosier is, in a minute.  make test: all that must hold before a commit.  make prove: the long proofs.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := pyproject.toml README.md $(wildcard bin/*) $(shell find src -name '*.py' -o -name '*.bash' -o -name '*.json' -o -name '*.html' -o -name py.typed)

# What the tests hold Hosier against, and build their inputs with.
PEERS := acl apt-utils attr buildah busybox-static chromium createrepo-c dbus-daemon debootstrap dnf docker-registry \
	dpkg e2fsprogs erofs-utils gcc gnupg gpgv libarchive-tools libc6-dev libcap2-bin lintian mmdebstrap mount openssl \
	passwd podman procps rpm rpmlint rsyslog runc skopeo squashfs-tools systemd systemd-container tar uidmap umoci util-linux \
	xz-utils zstd
# Those that it is timed beside.
RIVALS := bubblewrap buildah createrepo-c dnf erofs-utils gcc gnupg mmdebstrap rpm runc schroot squashfs-tools umoci zstd

.PHONY: demo test check prove bench clean

demo: .venv/installed
	bash examples/demo.sh

test: check
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile -m 'not prove' --durations=15

# The order is by what fails fastest.
check: .venv/installed-for-tests
	.ci/need $(PEERS)
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports

prove: .venv/installed-for-tests
	.ci/need $(PEERS) qemu-user-static
	$(BIN)/python -m pytest -m prove --durations=0

bench: .venv/installed
	.ci/need $(RIVALS)
	$(BIN)/python bench/build.py
	$(BIN)/python bench/run.py
	$(BIN)/python bench/diff.py
	$(BIN)/python bench/formats.py
	$(BIN)/python bench/oci.py
	$(BIN)/python bench/pack.py
	$(BIN)/python bench/rpm.py

# Not editable: what is shown, tested and timed is what people install.
.venv/installed-for-tests: TESTS = [test]
.venv/installed .venv/installed-for-tests: .venv/pip $(SOURCES)
	rm -rf build src/*.egg-info
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input '.$(TESTS)'
	rm -rf build src/*.egg-info
	touch $@

.venv/pip:
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/need python3-venv
	$(PYTHON) -m venv .venv
	touch $@

clean:
	rm -rf .venv build src/*.egg-info .*_cache .hypothesis
