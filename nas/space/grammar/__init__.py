"""From a document to a tree: ``read`` knows positions and names, ``values`` the forms that hold constants."""
