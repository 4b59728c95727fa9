from ferrite_hooks.cli import main

raise SystemExit(main())
